"""deploy/Dockerfile by its rules, as no engine builds it here: what it takes, as whom it runs, and what it starts."""

from __future__ import annotations

import fnmatch
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dicom_adapter.cli.app import clara_program

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent))


def instructions() -> Iterator[tuple[str, str]]:
    """Each instruction and its arguments, of every stage; a new stage begins with FROM."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if line.strip():
            name, _, arguments = line.strip().partition(" ")
            yield name, " ".join(arguments.split())


def final_stage() -> list[tuple[str, str]]:
    stages = list(instructions())
    last = max(place for place, (name, _) in enumerate(stages) if name == "FROM")
    return stages[last:]


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed: make deploy-tools")
def test_the_linter_finds_nothing() -> None:
    assert HADOLINT is not None
    ran = subprocess.run([HADOLINT, str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "")


def test_images_are_slim_and_of_one_version() -> None:
    images = [arguments.split()[0] for name, arguments in instructions() if name == "FROM"]
    assert len(set(images)) == 1
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", images[0])


def test_it_does_not_run_as_root() -> None:
    """By number, as Kubernetes can only see of a number that it is not root's; and nothing after it needs root."""
    names = [name for name, _ in final_stage()]
    (user,) = [arguments for name, arguments in final_stage() if name == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert {"RUN", "COPY", "ADD"}.isdisjoint(names[names.index("USER") :])


def test_only_the_volume_is_written_to() -> None:
    stage = dict(final_stage())
    assert stage["VOLUME"] == "/app/storage"
    assert "HOME=/app/storage" in stage["ENV"]
    assert "PYTHONDONTWRITEBYTECODE=1" in stage["ENV"]


def test_nothing_of_the_source_tree_gets_in() -> None:
    """What is copied is the wheel and the locked versions, each with its hash."""
    copied = [arguments for name, arguments in instructions() if name == "COPY"]
    assert copied == [
        "requirements/container.txt /tmp/requirements.txt",
        "dist/*.whl /tmp/dist/",
        "--from=build /opt/dicom-adapter /opt/dicom-adapter",
    ]
    assert all(name != "ADD" for name, _ in instructions())
    (install,) = [arguments for name, arguments in instructions() if name == "RUN" and "--requirement" in arguments]
    assert "--require-hashes" in install
    assert "--no-index" in install


def test_the_context_holds_no_more() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert rules == ["*", "!dist/*.whl", "!requirements/container.txt"]
    assert fnmatch.fnmatch("dist/dicom_adapter-0.1.0-py3-none-any.whl", "dist/*.whl")


def test_the_locked_versions_are_those_of_the_tests() -> None:
    """container.txt: the core and the extras of a Clara site, in the versions that `make test` ran with."""

    def versions(name: str) -> dict[str, str]:
        lines = (ROOT / "requirements" / name).read_text().splitlines()
        return dict(line.split()[0].split("==") for line in lines if "==" in line[:80] and line[:1].isalnum())

    container, everything = versions("container.txt"), versions("all.txt")
    assert {"grpcio", "lightkube", "fastapi"} <= container.keys()
    assert container.items() <= everything.items()


@pytest.mark.parametrize("name", ["HEALTHCHECK", "CMD"])
def test_its_commands_are_ones_that_there_are(name: str) -> None:
    (arguments,) = [arguments for found, arguments in final_stage() if found == name]
    words = re.findall(r'"([^"]+)"', arguments)
    command = words[words.index("dicom") : words.index("--file")]
    out = CliRunner().invoke(clara_program, [*command, "--help"])
    assert out.exit_code == 0
    assert "--file" in out.stdout


def test_a_stop_drains() -> None:
    """clara is the first process itself, so SIGTERM reaches it: no shell stands between."""
    stage = dict(final_stage())
    assert stage["STOPSIGNAL"] == "SIGTERM"
    assert stage["ENTRYPOINT"] == '["clara"]'
    assert '"--foreground"' in stage["CMD"]
