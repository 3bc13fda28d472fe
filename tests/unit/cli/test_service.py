"""Waiting for an adapter in the background, with processes that a test plays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dicom_adapter import run_file
from dicom_adapter.cli import service
from dicom_adapter.cli.outcome import CliError, ExitCode
from tests.unit.cli.api_stub import ApiStub, serving_api


class PlayedProcess:
    """Stands for the child: this very process, so that it is alive; or one that ends."""

    status: int | None = None
    words = b""

    def __init__(self, command: list[str], **options: object) -> None:
        self.pid = os.getpid()
        self.command = command
        output = options["stdout"]
        output.write(self.words)  # type: ignore[attr-defined]

    def poll(self) -> int | None:
        return self.status


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> type[PlayedProcess]:
    played = type("Played", (PlayedProcess,), {})
    monkeypatch.setattr("dicom_adapter.cli.service.subprocess.Popen", played)
    return played


def start(storage: Path) -> run_file.RunFile:
    return service.start(storage / "app.yaml", storage, timeout=0.3, tell=lambda words: None)


def test_ready(tmp_path: Path, child: type[PlayedProcess]) -> None:
    stub = ApiStub(answers={"GET /health/ready": {"status": "Healthy", "reasons": []}})
    with serving_api(stub):
        run_file.write(tmp_path, stub.url)
        assert start(tmp_path).api == stub.url


def test_it_says_what_is_missing(tmp_path: Path, child: type[PlayedProcess]) -> None:
    stub = ApiStub(answers={"GET /health/ready": (503, {"status": "Unhealthy", "reasons": ["the disk is full"]})})
    with serving_api(stub):
        run_file.write(tmp_path, stub.url)
        with pytest.raises(CliError, match=r"not ready after 0\.3 seconds: the disk is full"):
            start(tmp_path)


def test_another_adapter_that_is_ready_is_not_taken_for_it(tmp_path: Path, child: type[PlayedProcess]) -> None:
    stub = ApiStub(answers={"GET /health/ready": {"status": "Healthy", "reasons": []}})
    with serving_api(stub), pytest.raises(CliError, match="it has not answered yet"):
        start(tmp_path)  # no run file of this process
    assert stub.asked == []


def test_it_ended_and_its_last_words_are_told(tmp_path: Path, child: type[PlayedProcess]) -> None:
    child.status = 1
    child.words = b"".join(b"line %d\n" % number for number in range(100))
    service.log_path(tmp_path).parent.mkdir()
    service.log_path(tmp_path).write_text("of an earlier run\n")
    with pytest.raises(CliError, match="ended with status 1") as caught:
        start(tmp_path)
    assert caught.value.code is ExitCode.FAILED
    assert str(caught.value).splitlines()[1:] == [f"line {number}" for number in range(80, 100)]


def test_a_long_log_is_put_aside(tmp_path: Path, child: type[PlayedProcess], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_LOG_LIMIT", 10)
    child.status = 1
    log = service.log_path(tmp_path)
    log.parent.mkdir()
    log.write_text("x" * 11)
    with pytest.raises(CliError, match="it wrote nothing"):
        start(tmp_path)
    assert log.with_suffix(".log.1").read_text() == "x" * 11
    assert log.read_text() == ""


def test_a_storage_folder_that_cannot_be_made(tmp_path: Path, child: type[PlayedProcess]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CliError, match=r"storage\.temporary"):
        start(tmp_path / "file")


def test_stopping_what_is_gone_is_done() -> None:
    service.stop(run_file.RunFile(pid=2**22 + 1, api="http://h:1"), timeout=1)
