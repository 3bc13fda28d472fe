"""Errors -> answers: the table of docs/architecture.md, row by row, over a socket."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_adapter.core.errors import OutOfResources
from dicom_adapter.core.model import AssociationOutcome
from dicom_adapter.core.snapshot import ClaraAeTitle, ScpPolicy
from dicom_adapter.dicom.command_set import CommandField, CommandSet
from dicom_adapter.dicom.dimse import c_echo_rq
from dicom_adapter.dicom.pdu import AAssociateRJ
from dicom_adapter.dicom.status import Status, words
from dicom_adapter.net.connection import AssociationRejected, Connection
from dicom_adapter.scp import service, storage
from dicom_adapter.spool import SpoolWriter
from tests.peers import CT, EXPLICIT, IMPLICIT, MR, SR, data_set
from tests.scp_harness import SNAPSHOT, Scp, running, store

VERIFICATION = "1.2.840.10008.1.1"


@pytest.mark.parametrize(
    ("calling", "called", "policy", "full", "answer"),
    [
        ("CT02", "BRAIN", ScpPolicy(), False, AAssociateRJ(1, 1, 3)),
        ("CT01", "LUNG", ScpPolicy(), False, AAssociateRJ(1, 1, 7)),
        ("CT01", "BRAIN", ScpPolicy(max_associations=0), False, AAssociateRJ(2, 3, 2)),
        ("CT01", "BRAIN", ScpPolicy(), True, AAssociateRJ(2, 3, 1)),
    ],
)
def test_rejected_associations(
    tmp_path: Path, calling: str, called: str, policy: ScpPolicy, full: bool, answer: AAssociateRJ
) -> None:
    with running(tmp_path / "storage", policy=policy) as scp:
        scp.full = full
        with pytest.raises(AssociationRejected) as raised:
            scp.associate(calling=calling, called=called)
        assert raised.value.rj == answer
        name = f"associations_rejected_{answer.result}_{answer.source}_{answer.reason}"
        assert scp.listener.counters() == {name: 1}


def test_disabled_verification_refuses_the_context_not_the_association(tmp_path: Path) -> None:
    with running(tmp_path / "storage", policy=ScpPolicy(verification_enabled=False)) as scp:
        connection = scp.associate((VERIFICATION, (IMPLICIT,)), (CT, (EXPLICIT,)))
        assert [context.abstract_syntax for context in connection.contexts.values()] == [CT]
        connection.release()


def full_disk(_writer: SpoolWriter, _fragment: bytes | memoryview) -> None:
    raise OutOfResources("no space")


def bug(*_args: object) -> None:
    raise ZeroDivisionError("Jane Doe")


Arrange = Callable[[pytest.MonkeyPatch, Scp], None]


def nothing(monkeypatch: pytest.MonkeyPatch, scp: Scp) -> None:
    pass


def below_watermark(monkeypatch: pytest.MonkeyPatch, scp: Scp) -> None:
    scp.full = True


def disk_full_at_write(monkeypatch: pytest.MonkeyPatch, scp: Scp) -> None:
    write = SpoolWriter.write

    def first_the_meta(writer: SpoolWriter, fragment: bytes | memoryview) -> None:
        if writer.size:
            raise OutOfResources("no space")
        write(writer, fragment)

    monkeypatch.setattr(SpoolWriter, "write", first_the_meta)


def disk_full_at_create(monkeypatch: pytest.MonkeyPatch, scp: Scp) -> None:
    monkeypatch.setattr(SpoolWriter, "write", full_disk)


def disk_full_at_commit(monkeypatch: pytest.MonkeyPatch, scp: Scp) -> None:
    def commit(_writer: SpoolWriter, _facts: object) -> None:
        raise OutOfResources("no space")

    monkeypatch.setattr(SpoolWriter, "commit", commit)


def bug_in_us(monkeypatch: pytest.MonkeyPatch, scp: Scp) -> None:
    monkeypatch.setattr(storage.StorageService, "_receive", bug)


def bug_in_the_sink(monkeypatch: pytest.MonkeyPatch, scp: Scp) -> None:
    monkeypatch.setattr(storage.InstanceSink, "_check", bug)


GOOD = data_set(CT, "1.2.3.4.5")
LARGE = data_set(CT, "1.2.3.4.5", 1_000_000)  # spliced
UNREADABLE = b"\x08\x00\x05\x00CS\xff\xff" + bytes(100)

TABLE: list[tuple[str, Arrange, dict[str, object], Status]] = [
    # what, how it comes about, the C-STORE, its status
    ("stored", nothing, {}, Status.SUCCESS),
    ("large and stored", nothing, {"data": LARGE}, Status.SUCCESS),
    ("no space below the watermark", below_watermark, {}, Status.OUT_OF_RESOURCES),
    ("no space at create", disk_full_at_create, {}, Status.OUT_OF_RESOURCES),
    ("no space at write", disk_full_at_write, {}, Status.OUT_OF_RESOURCES),
    ("no space at write, large", disk_full_at_write, {"data": LARGE}, Status.OUT_OF_RESOURCES),
    ("no space at commit", disk_full_at_commit, {"data": LARGE}, Status.OUT_OF_RESOURCES),
    ("other SOP Class in the data set", nothing, {"data": data_set(MR, "1.2.3.4.5")}, Status(0xA900)),
    ("other SOP Instance in the data set", nothing, {"data": data_set(CT, "1.2.3.4.6", 500_000)}, Status(0xA900)),
    ("unreadable head", nothing, {"data": UNREADABLE}, Status.CANNOT_UNDERSTAND),
    ("empty data set", nothing, {"data": b""}, Status.CANNOT_UNDERSTAND),
    ("no UIDs in the data set", nothing, {"data": b"\x28\x00\x10\x00US\x02\x00\0\2"}, Status.CANNOT_UNDERSTAND),
    ("other SOP Class than the context's", nothing, {"sop_class": MR}, Status.SOP_CLASS_NOT_SUPPORTED),
    ("C-STORE in a Verification context", nothing, {"context_id": 3}, Status.SOP_CLASS_NOT_SUPPORTED),
    ("no UID", nothing, {"sop_instance": "../../etc/passwd"}, Status.INVALID_OBJECT_INSTANCE),
    ("over-long UID", nothing, {"sop_instance": "1." * 40}, Status.INVALID_OBJECT_INSTANCE),
    ("a bug", bug_in_us, {}, Status.PROCESSING_FAILURE),
    ("a bug while data comes", bug_in_the_sink, {"data": LARGE}, Status.PROCESSING_FAILURE),
]


@pytest.mark.parametrize(("what", "arrange", "request_", "status"), TABLE, ids=[row[0] for row in TABLE])
def test_c_store_status_and_the_association_lives_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    arrange: Arrange,
    request_: dict[str, object],
    status: Status,
) -> None:
    with running(tmp_path / "storage") as scp:
        connection = scp.associate((CT, (EXPLICIT,)), (VERIFICATION, (IMPLICIT,)))
        with monkeypatch.context() as patch:
            arrange(patch, scp)
            answer = store(connection, tmp_path, **request_)  # type: ignore[arg-type]
        scp.full = False
        assert answer.status == status
        assert answer.command_field == CommandField.C_STORE_RSP
        assert len(answer.error_comment or "") <= 64
        assert "Jane" not in (answer.error_comment or "")
        assert store(connection, tmp_path, GOOD, message_id=2).status == Status.SUCCESS
        connection.release()
        data = [request_.get("data", GOOD)] if status is Status.SUCCESS else []
        assert scp.stored() == [*data, GOOD]
        [(record, _)] = scp.closed_associations()
        assert record.refused.requests == (status is not Status.SUCCESS)
        assert (record.refused.why or "").startswith("" if status is Status.SUCCESS else words(status))
        assert list(scp.spool.layout.tmp.iterdir()) == []  # no trace of what was refused


@pytest.mark.parametrize(
    ("context_id", "command", "status"),
    [
        (1, CommandSet(command_field=0x0020, has_data_set=False, message_id=7), 0x0211),  # C-FIND-RQ
        (1, CommandSet(command_field=0x0021, message_id=7, affected_sop_class_uid=CT), 0x0211),  # C-MOVE-RQ
        (1, CommandSet(command_field=0x0010, message_id=7, affected_sop_class_uid=CT), 0x0211),  # C-GET-RQ
        (1, CommandSet(command_field=0x0140, message_id=7, requested_sop_class_uid=CT), 0x0211),  # N-CREATE-RQ
        (1, c_echo_rq(7), 0x0211),  # C-ECHO in a storage context
        (3, c_echo_rq(7), 0x0000),
        (3, c_echo_rq(7)._replace(affected_sop_class_uid=CT), 0x0122),
        (1, CommandSet(command_field=0x0001, message_id=7, affected_sop_class_uid=CT), 0x0117),
        (
            1,
            CommandSet(command_field=0x0001, message_id=7, affected_sop_class_uid=CT, affected_sop_instance_uid="1.2"),
            0xC000,  # announces no data set
        ),
    ],
)
def test_other_requests(tmp_path: Path, context_id: int, command: CommandSet, status: int) -> None:
    with running(tmp_path / "storage") as scp:
        connection = scp.associate((CT, (EXPLICIT,)), (VERIFICATION, (IMPLICIT,)))
        connection.send_command(context_id, command)
        received = connection.receive_command()
        assert received is not None
        assert received[1].status == status
        assert received[1].command_field == command.command_field | 0x8000
        assert received[1].message_id_being_responded_to == 7
        assert store(connection, tmp_path).status == Status.SUCCESS
        connection.release()


def test_the_data_set_of_an_unknown_request_is_read_and_forgotten(tmp_path: Path) -> None:
    with running(tmp_path / "storage") as scp:
        connection = scp.associate()
        (tmp_path / "query").write_bytes(bytes(100_000))
        find = CommandSet(command_field=0x0020, has_data_set=True, message_id=7, affected_sop_class_uid=CT)
        connection.send_command(1, find)
        with (tmp_path / "query").open("rb") as file:
            connection.send_data_set(1, file.fileno(), 0, 100_000)
        received = connection.receive_command()
        assert received is not None
        assert received[1].status == Status.UNRECOGNIZED_OPERATION
        assert store(connection, tmp_path).status == Status.SUCCESS


@pytest.mark.parametrize("field", [CommandField.C_CANCEL_RQ, CommandField.C_ECHO_RSP])
def test_what_has_no_response_gets_none(tmp_path: Path, field: CommandField) -> None:
    with running(tmp_path / "storage") as scp:
        connection = scp.associate()
        connection.send_command(1, CommandSet(command_field=field, message_id_being_responded_to=7, status=0))
        assert store(connection, tmp_path, message_id=9).message_id_being_responded_to == 9


def test_an_ignored_sop_class_is_success_and_not_stored(tmp_path: Path) -> None:
    snapshot = replace(SNAPSHOT, ae_titles={"BRAIN": ClaraAeTitle("b", "BRAIN", ignored_sop_classes=frozenset({SR}))})
    with running(tmp_path / "storage", snapshot) as scp:
        connection = scp.associate((CT, (EXPLICIT,)), (SR, (EXPLICIT,)))
        scp.full = True  # needs no space
        assert store(connection, tmp_path, sop_class=SR, context_id=3).status == Status.SUCCESS
        scp.full = False
        assert store(connection, tmp_path).status == Status.SUCCESS
        connection.release()
        assert scp.stored() == [GOOD]
        assert scp.listener.counters()["instances_ignored"] == 1


def test_the_answer_to_anything_unforeseen_is_a_processing_failure() -> None:
    assert service.answer_to(KeyError("x")) == (Status.PROCESSING_FAILURE, "internal error")


def test_outcome_enumeration_is_what_the_spool_knows(tmp_path: Path) -> None:
    with running(tmp_path / "storage") as scp:
        connection: Connection = scp.associate()
        store(connection, tmp_path)
        connection.release()
        assert scp.outcomes() == [(AssociationOutcome.RELEASED, 1)]
