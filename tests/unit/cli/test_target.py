"""Which adapter a command asks, and with which token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dicom_adapter.cli.app import clara_program
from tests.unit.cli.api_stub import ApiStub, serving_api

OF_FILE, OF_OPTION, OF_ENVIRONMENT = (f"{word}-0123456789abcdef" for word in ("configured", "option", "environment"))
PROBLEM = {"title": "Unauthorized", "status": 401, "detail": "This is not the token of this adapter."}


@pytest.fixture
def api() -> Iterator[ApiStub]:
    stub = ApiStub({"GET /api/v1/jobs": ApiStub().page()})
    with serving_api(stub):
        yield stub


@pytest.fixture
def config(api: ApiStub, tmp_path: Path) -> Path:
    path = tmp_path / "app.yaml"
    port = api.url.rpartition(":")[2]
    path.write_text(f"api: {{port: {port}, token: {OF_FILE}}}\nstorage: {{temporary: {tmp_path}}}\n")
    (tmp_path / "token").write_text(f"{OF_OPTION}\n")
    return path


def run(*arguments: str, status: int = 0, environment: str | None = None) -> Result:
    result = CliRunner().invoke(clara_program, ["dicom", "jobs", *arguments], env={"CLARA_DICOM_TOKEN": environment})
    assert result.exit_code == status, (result.output, result.exception)
    return result


def test_the_option_comes_first_then_the_environment_then_the_file(api: ApiStub, config: Path) -> None:
    file, token_file = ("-f", str(config)), ("--token-file", str(config.with_name("token")))
    run(*file, *token_file, environment=OF_ENVIRONMENT)
    run(*file, environment=OF_ENVIRONMENT)
    run(*file)
    assert api.tokens == [f"Bearer {one}" for one in (OF_OPTION, OF_ENVIRONMENT, OF_FILE)]


def test_an_address_gets_the_token_of_a_file_only_with_the_file(
    api: ApiStub, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = config.parent / ".clara/charts/dicom-adapter/files"
    home.mkdir(parents=True)
    (home / "dicom-server-config.yaml").write_text(config.read_text())
    monkeypatch.setenv("HOME", str(config.parent))
    run()
    run("--api", api.url)
    run("--api", api.url, "-f", str(config))
    assert api.tokens == [f"Bearer {OF_FILE}", None, f"Bearer {OF_FILE}"]


def test_a_token_in_a_file_of_its_own(api: ApiStub, config: Path) -> None:
    config.write_text(config.read_text().replace(f"token: {OF_FILE}", "token-file: token"))
    run("-f", str(config))
    assert api.tokens == [f"Bearer {OF_OPTION}"]


@pytest.mark.parametrize(
    ("token", "words"), [(OF_ENVIRONMENT, "refuses this token"), (None, "asks for a token: give that of")]
)
def test_a_refused_token_is_told_in_words(api: ApiStub, token: str | None, words: str) -> None:
    api.answers["GET /api/v1/jobs"] = (401, PROBLEM)
    err = run("--api", api.url, environment=token, status=1).stderr
    assert words in err
    assert "CLARA_DICOM_TOKEN" in err
    assert OF_ENVIRONMENT not in err


@pytest.mark.parametrize(("content", "words"), [(None, "cannot be read"), ("short", "holds no token")])
def test_a_token_file_that_is_none(api: ApiStub, tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "other"
    if content is not None:
        path.write_text(content)
    err = run("--api", api.url, "--token-file", str(path), status=2).stderr
    assert words in err
    assert str(path) in err
    assert "short" not in err
    assert api.asked == []


@pytest.mark.parametrize("token", ["", "wrong", "wrong-wrong-wrong\u00e9", "wrong-wrong-wrong\nX-Header: 1"])
def test_a_variable_that_holds_no_token(api: ApiStub, token: str) -> None:
    err = run("--api", api.url, environment=token, status=2).stderr
    assert err.startswith("CLARA_DICOM_TOKEN holds no token")
    assert "wrong" not in err
    assert api.asked == []


def test_an_address_that_is_none() -> None:
    assert "is no address" in run("--api", "http://adapter:many", status=2).stderr


def test_a_file_that_is_wrong_elsewhere_still_tells_where_the_adapter_is(api: ApiStub, config: Path) -> None:
    right = config.read_text()
    config.write_text(f"{right}dicom: {{scp: {{port: none, colour: red}}}}\n")
    result = run("-f", str(config))
    assert f"no adapter would start with this file any more: `clara dicom config check {config}`" in result.stderr
    assert api.tokens == [f"Bearer {OF_FILE}"]
    for wrong in (f"{right}storage: {{}}\n", right.replace("port:", "prot:"), "a: ["):
        config.write_text(wrong)
        run("-f", str(config), status=2)
