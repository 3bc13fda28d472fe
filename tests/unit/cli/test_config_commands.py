"""config check, config show, and a start with a wrong file: nothing is touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner, Result

from dicom_adapter.cli.app import clara_program
from dicom_adapter.config import default_text, load_text

SAMPLE = Path(__file__).parents[2] / "fixtures" / "two_pipelines.yaml"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of the test's own, and no CLARA_* variables of the machine."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name in ("CLARA_SERVICE_HOST", "CLARA_SERVICE_PORT_API"):
        monkeypatch.delenv(name, raising=False)
    return folder


def run(*arguments: str) -> Result:
    return CliRunner().invoke(clara_program, ["dicom", *arguments])


def written(folder: Path, text: str) -> str:
    file = folder / "app.yaml"
    file.write_text(text)
    return str(file)


def test_check_of_a_right_file(tmp_path: Path) -> None:
    result = run("config", "check", written(tmp_path, default_text()))
    assert result.exit_code == 0
    assert "warning:" in result.stdout  # it has no destination yet
    assert result.stdout.endswith("no errors; warnings stand above\n")


def test_check_of_a_wrong_file(tmp_path: Path) -> None:
    file = written(tmp_path, "dicom: {scp: {prot: 104}}\nlog: {level: loud}\n")
    result = run("config", "check", file)
    assert result.exit_code == 2
    assert f"{file}:1:15: dicom.scp.prot: unknown key" in result.stdout
    assert "did you mean `port`?" in result.stdout
    assert f"{file}:2:7: log.level: wrong value" in result.stdout


def test_check_tells_of_processors_that_are_not_installed(tmp_path: Path) -> None:
    names = "[job, magic, 'no_such_module:Magic', 'dicom_adapter.processors.job:JobProcessor']"
    scp = f"{{read-aetitles-from-crd: false, ae-titles: [{{ae-title: CT, processors: {names}}}]}}"
    runs = "[{id: '1', engine: process, command: ['true']}]"
    mapped = "[{clara-ae-title: CT, name: any, pipeline-id: '1'}]"
    file = written(tmp_path, f"dicom:\n  scp: {scp}\npipelines: {runs}\npipeline-mappings: {mapped}\n")
    result = run("config", "check", file)
    assert result.exit_code == 0
    missing = [line for line in result.stdout.splitlines() if "will be held" in line]
    assert missing[0].startswith(f"warning: {file}:2:")
    assert "processors[1]" in missing[0]
    assert "processor 'magic' is not installed. There are: job" in missing[0]
    assert "processors[2]" in missing[1]
    assert "No module named 'no_such_module'" in missing[1]
    assert len(missing) == 2


def test_check_for_programs(tmp_path: Path) -> None:
    result = run("config", "check", "--json", written(tmp_path, "log: {level: loud}\n"))
    assert result.exit_code == 2
    (problem,) = json.loads(result.stdout)["errors"]
    assert (problem["path"], problem["line"], problem["column"]) == ("log.level", 1, 7)


def test_check_says_what_cannot_run_here() -> None:
    result = run("config", "check", str(SAMPLE))
    assert result.exit_code == 2
    assert result.stdout.count("name the Clara Platform in services.platform-endpoint") == 2
    assert result.stdout.count("note:") == 3


def test_show_can_be_used_as_a_configuration(tmp_path: Path) -> None:
    file = written(tmp_path, default_text())
    out = run("config", "show", "-f", file).stdout
    shown = load_text(out, {}).settings
    assert shown == load_text(default_text(), {}).settings
    assert shown.services.platform is None  # the default of an endpoint, printed, would name one
    as_json = json.loads(run("config", "show", "-f", file, "--json").stdout)
    assert as_json == YAML(typ="safe").load(out)


def test_show_without_a_file_shows_what_a_start_would_write(home: Path) -> None:
    assert "ClaraSCP" in run("config", "show").stdout
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("command", [["start"], ["start", "--foreground"], ["restart"]])
@pytest.mark.parametrize("text", ["dicom: {scp: {port: 0}}\nstorage: {temporary: ./s}\n", SAMPLE.read_text()])
def test_a_start_with_a_wrong_file_touches_nothing(tmp_path: Path, home: Path, command: list[str], text: str) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    result = run(*command, "-f", written(folder, text))
    assert result.exit_code == 2
    assert "problem" in result.stderr
    assert [path.name for path in folder.iterdir()] == ["app.yaml"]
    assert list(home.iterdir()) == []


def test_a_broken_variable_stops_a_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLARA_SERVICE_PORT_API", "abc")
    result = run("start", "-f", written(tmp_path, default_text()))
    assert result.exit_code == 2
    assert "CLARA_SERVICE_PORT_API" in result.stderr


def test_a_file_that_is_not_there() -> None:
    result = run("start", "-f", "/nowhere/app.yaml")
    assert result.exit_code == 2
    assert "cannot read the file" in result.stderr


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_show_hides_the_token(tmp_path: Path, form: list[str]) -> None:
    path = tmp_path / "app.yaml"
    path.write_text("api: {token: secret-0123456789abcdef}\n")
    out = run("config", "show", "-f", str(path), *form).output
    assert "**********" in out
    assert "secret" not in out
