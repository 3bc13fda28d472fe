"""config convert, config import: what they print, write and make, what they tell, and what they leave alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dicom_adapter.cli.app import clara_program
from dicom_adapter.config import load_text
from tests.unit.cli.api_stub import ApiStub, serving_api

FIXTURES = Path(__file__).parents[2] / "fixtures" / "migration"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(clara_program, ["dicom", "config", *map(str, arguments)])


def test_it_prints_what_it_made() -> None:
    result = run("convert", FIXTURES / "shipped_0.7.3.json")
    assert result.exit_code == 0
    assert result.stdout == (FIXTURES / "shipped_0.7.3.yaml").read_text()


def test_it_writes_what_it_made_but_over_no_other_file(tmp_path: Path) -> None:
    target = tmp_path / "app.yaml"
    assert run("convert", FIXTURES / "lists_0.7.3.json", "-o", target).exit_code == 0
    assert target.read_text() == (FIXTURES / "lists_0.7.3.yaml").read_text()
    again = run("convert", FIXTURES / "shipped_0.7.3.json", "-o", target)
    assert again.exit_code == 2
    assert "there already" in again.stderr
    assert target.read_text() == (FIXTURES / "lists_0.7.3.yaml").read_text()


def test_what_was_wrong_before_is_told_with_its_place_now(tmp_path: Path) -> None:
    source = tmp_path / "appsettings.json"
    source.write_text('{"DicomAdapter": {"dicom": {"scp": {"port": 70000}}}}')
    result = run("convert", source)
    assert result.exit_code == 1
    assert "port: 70000" in result.stdout
    assert "dicom.scp.port: wrong value" in result.stderr
    with pytest.raises(Exception, match=r"dicom\.scp\.port"):
        load_text(result.stdout, {})


@pytest.mark.parametrize(
    ("content", "words"), [(b"{}", "no section DicomAdapter"), (b"\xff", "not UTF-8"), (None, "cannot read")]
)
def test_what_is_no_such_file(tmp_path: Path, content: bytes | None, words: str) -> None:
    source = tmp_path / "appsettings.json"
    if content is not None:
        source.write_bytes(content)
    result = run("convert", source)
    assert result.exit_code == 2
    assert words in result.stderr


@pytest.fixture
def monai(tmp_path: Path) -> Path:
    """A database of the gateway."""
    path = tmp_path / "mig.db"
    with closing(sqlite3.connect(path)) as made:
        made.executescript((FIXTURES / "databases" / "monai_0.4.sql").read_text())
    return path


@pytest.fixture
def api() -> Iterator[ApiStub]:
    stub = ApiStub({f"GET /api/v1/{plural}": {"items": []} for plural in ("claraaetitles", "sources", "destinations")})
    stub.answers |= {f"POST /api/v1/{plural}": (201, {}) for plural in ("claraaetitles", "sources", "destinations")}
    with serving_api(stub) as serving:
        yield serving


def made(api: ApiStub) -> list[tuple[str, object]]:
    return [(call, body) for (call, *_), body in zip(api.asked, api.bodies, strict=True) if call.startswith("POST")]


def test_lists_for_the_file(monai: Path) -> None:
    result = run("import", monai, "--yaml", "--pipeline", "count")
    assert result.exit_code == 0
    assert [entry.ae_title for entry in load_text(result.stdout, {}).settings.dicom.scp.ae_titles] == ["BRAIN", "ROUTE"]
    assert "AllowedSopClasses" in result.stderr
    assert "1 virtual AE Titles" in result.stderr


def test_lists_that_are_no_configuration_yet_are_told(monai: Path) -> None:
    result = run("import", monai, "--yaml")
    assert result.exit_code == 1
    assert "ROUTE" in result.stdout
    assert "no pipeline; name one with --pipeline ID" in result.stderr
    assert "this AE Title is mapped to no pipeline" in result.stderr


def test_into_an_adapter(monai: Path, api: ApiStub) -> None:
    result = run("import", monai, "--api", api.url, "--pipeline", "count")
    assert result.exit_code == 0, result.stderr
    calls = made(api)
    assert [call for call, _ in calls] == [
        "POST /api/v1/claraaetitles",
        "POST /api/v1/claraaetitles",
        "POST /api/v1/sources",
        "POST /api/v1/destinations",
    ]
    assert calls[2][1] == {"spec": {"aeTitle": "CT1", "hostIp": "192.0.2.7"}}
    assert result.stdout.splitlines()[-1] == "Destination pacs: made"


def test_what_is_there_already_stays_as_it_is(monai: Path, api: ApiStub) -> None:
    api.answers["GET /api/v1/sources"] = {"items": [{"metadata": {"name": "ct1"}, "spec": {"aeTitle": "CT1"}}]}
    result = run("import", monai, "--api", api.url, "--pipeline", "count")
    assert result.exit_code == 0
    assert "Source CT1: is there already" in result.stdout
    assert "POST /api/v1/sources" not in [call for call, _ in made(api)]


def test_what_an_adapter_refuses_costs_no_other(monai: Path, api: ApiStub) -> None:
    api.answers["POST /api/v1/claraaetitles"] = (400, {"detail": "aeTitle: wrong"})
    result = run("import", monai, "--api", api.url, "--pipeline", "count")
    assert result.exit_code == 1
    assert "ClaraAeTitle brain: aeTitle: wrong" in result.stderr
    assert len(made(api)) == 4


def test_an_ae_title_without_a_pipeline_is_left_out_and_told(monai: Path, api: ApiStub) -> None:
    result = run("import", monai, "--api", api.url)
    assert result.exit_code == 1
    assert "ClaraAeTitle route: no pipeline" in result.stderr
    assert len(made(api)) == 3


def test_a_file_that_holds_nothing_asks_nobody(tmp_path: Path, api: ApiStub) -> None:
    (tmp_path / "empty.json").write_text("[]")
    result = run("import", tmp_path / "empty.json", "--api", api.url)
    assert result.exit_code == 2
    assert api.asked == []


def test_nobody_answers(monai: Path) -> None:
    assert run("import", monai, "--api", "127.0.0.1:9").exit_code == 3
