"""send and echo against scripted peers."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from dicom_adapter.cli.app import clara_program
from dicom_adapter.cli.dicom_commands import parse_peer
from dicom_adapter.cli.outcome import CliError
from dicom_adapter.dicom.command_set import CommandSet
from dicom_adapter.dicom.dimse import response
from dicom_adapter.dicom.pdu import AAssociateRJ, RejectReasonUser, RejectResult, RejectSource
from dicom_adapter.scu.requestor import Peer
from tests.peers import ScriptedScp, serving, write_file

CALLED_UNKNOWN = AAssociateRJ(
    RejectResult.REJECTED_PERMANENT, RejectSource.SERVICE_USER, RejectReasonUser.CALLED_AE_TITLE_NOT_RECOGNIZED
)


def run(*arguments: str, status: int = 0) -> Result:
    result = CliRunner().invoke(clara_program, ["dicom", *arguments])
    assert result.exit_code == status, (result.output, result.exception)
    return result


@pytest.mark.parametrize(
    ("text", "peer"),
    [
        ("ARCHIVE@10.20.30.40:104", Peer("ARCHIVE", "10.20.30.40", 104)),
        ("A B@pacs.example:11112", Peer("A B", "pacs.example", 11112)),
        ("A@[::1]:104", Peer("A", "::1", 104)),
        ("A@B@host:1", Peer("A@B", "host", 1)),
    ],
)
def test_a_peer_is_named_as_title_host_and_port(text: str, peer: Peer) -> None:
    assert parse_peer(text) == peer


@pytest.mark.parametrize(
    "text",
    ["host:104", "A@host", "A@host:", "A@host:0", "A@host:65536", "A@:104", "@h:1", "A@a b:1", "SEVENTEEN-LETTERS@h:1"],
)
def test_what_is_no_peer(text: str) -> None:
    with pytest.raises(CliError, match="for example"):
        parse_peer(text)


def test_echo() -> None:
    with serving(ScriptedScp()) as scp:
        assert "0000H" in run("echo", f"PEER@127.0.0.1:{scp.port}", "-c", "ME").stdout
        answer = json.loads(run("echo", f"PEER@127.0.0.1:{scp.port}", "--json").stdout)
    assert answer["status"] == "0000H"
    assert [(rq.calling_ae_title, rq.called_ae_title) for rq in scp.requests] == [("ME", "PEER"), ("ClaraSCU", "PEER")]


def test_echo_with_another_status_fails() -> None:
    with serving(ScriptedScp(answer=lambda command, data: response(command, 0x0122))) as scp:
        assert "0122H" in run("echo", f"PEER@127.0.0.1:{scp.port}", status=1).stdout


def test_a_rejection_in_plain_words() -> None:
    with serving(ScriptedScp(reject=[CALLED_UNKNOWN])) as scp:
        result = run("echo", f"WRONG@127.0.0.1:{scp.port}", status=1)
    assert "it is not called WRONG" in result.stderr


def test_nobody_listens() -> None:
    with serving(ScriptedScp()) as scp:
        port = scp.port
    assert "127.0.0.1" in run("echo", f"A@127.0.0.1:{port}", status=1).stderr


def test_send_files_and_folders(tmp_path: Path) -> None:
    folder = tmp_path / "study" / "series"
    folder.mkdir(parents=True)
    files = [write_file(folder, number) for number in (1, 2, 3)]
    alone = write_file(tmp_path, 4)
    with serving(ScriptedScp()) as scp:
        result = run("send", f"PEER@127.0.0.1:{scp.port}", str(tmp_path / "study"), str(alone))
    assert "4 of 4 files stored by PEER" in result.stdout
    assert [command.affected_sop_instance_uid for command, _ in scp.received] == [f"1.2.3.4.{n}" for n in (1, 2, 3, 4)]
    assert len(files) == 3


def test_send_leaves_out_no_folder_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file(tmp_path, 1)
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with serving(ScriptedScp()) as scp:
        result = run("send", f"PEER@127.0.0.1:{scp.port}", str(tmp_path), status=2)
    assert "cannot be read: Permission denied" in " ".join(result.stderr.split())
    assert scp.received == []


def test_send_names_each_file_that_was_not_stored(tmp_path: Path) -> None:
    def refuse_second(command: CommandSet, data: bytes) -> CommandSet:
        return response(command, 0xA700 if str(command.affected_sop_instance_uid).endswith(".2") else 0)

    paths = [str(write_file(tmp_path, number)) for number in (1, 2, 3)]
    text = tmp_path / "notes.txt"
    text.write_text("not DICOM")
    with serving(ScriptedScp(answer=refuse_second)) as scp:
        result = run("send", f"PEER@127.0.0.1:{scp.port}", *paths, str(text), status=1)
        assert "2 of 4 files stored" in result.stdout
        assert "A700H" in result.stdout
        assert "notes.txt" in result.stdout
        report = json.loads(run("send", f"PEER@127.0.0.1:{scp.port}", "--json", *paths, status=1).stdout)
    states = {Path(file["file"]).name: (file["state"], file["status"]) for file in report["files"]}
    assert states == {"1.dcm": ("delivered", "0000H"), "2.dcm": ("failed", "A700H"), "3.dcm": ("delivered", "0000H")}


def test_one_reason_for_all_is_said_once(tmp_path: Path) -> None:
    paths = [str(write_file(tmp_path, number)) for number in (1, 2, 3)]
    with serving(ScriptedScp(reject=[CALLED_UNKNOWN])) as scp:
        out = run("send", f"WRONG@127.0.0.1:{scp.port}", *paths, status=1).stdout
    assert out.count("it is not called WRONG") == 1
    assert "all 3 failed" in out


def test_a_warning_is_stored_and_said(tmp_path: Path) -> None:
    path = write_file(tmp_path, 1)
    with serving(ScriptedScp(answer=lambda command, data: response(command, 0xB000))) as scp:
        out = run("send", f"PEER@127.0.0.1:{scp.port}", str(path)).stdout
    assert "1 of 1 files stored" in out
    assert "B000H" in out


@pytest.mark.parametrize("arguments", [["PEER@h:1", "/nowhere/x.dcm"], ["PEER", "x"], ["P@h:1"]])
def test_wrong_arguments(arguments: list[str]) -> None:
    run("send", *arguments, status=2)


def test_a_link_that_is_named_is_followed(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(write_file(tmp_path, 1))
    with serving(ScriptedScp()) as scp:
        assert "1 of 1" in run("send", f"PEER@127.0.0.1:{scp.port}", str(link)).stdout


def test_an_empty_folder_is_a_mistake(tmp_path: Path) -> None:
    assert "holds no file" in run("send", "P@127.0.0.1:1", str(tmp_path), status=2).stderr
