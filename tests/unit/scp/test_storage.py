"""What becomes of instances: bytes, envelope, and how an association's end decides over them."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.filereader import read_file_meta_info
from structlog.testing import capture_logs

from dicom_adapter.core.errors import OutOfResources
from dicom_adapter.core.model import AssociationOutcome, Refused
from dicom_adapter.core.snapshot import ScpPolicy
from dicom_adapter.dicom.command_set import CommandSet
from dicom_adapter.dicom.dimse import c_store_rq
from dicom_adapter.dicom.pdu_encoder import p_data_header
from dicom_adapter.dicom.status import words
from dicom_adapter.dicom.uid import is_valid_uid
from dicom_adapter.net.connection import AssociationEnded
from dicom_adapter.scp.live import Rejection
from dicom_adapter.spool import AssociationSpool, Durability
from dicom_adapter.spool.fs import FileSystem
from tests.dicom_files import readable_files
from tests.peers import CT, EXPLICIT, data_set
from tests.scp_harness import running, store
from tests.waiting import eventually


@pytest.mark.parametrize("durability", Durability)
def test_a_stored_instance_is_the_received_bytes_behind_our_file_meta(tmp_path: Path, durability: Durability) -> None:
    sent = [data_set(CT, f"1.2.{number}", size) for number, size in enumerate((0, 2, 70_000, 3_000_000))]
    with running(tmp_path / "storage", durability=durability) as scp:
        connection = scp.associate()
        for number, data in enumerate(sent):
            answer = store(connection, tmp_path, data, sop_instance=f"1.2.{number}", message_id=number + 1)
            assert answer.status == 0
        assert scp.outcomes() == []  # it is still open
        connection.release()
        ((record, instances),) = scp.closed_associations()
        assert scp.stored() == sent
        path = scp.spool.layout.instance(record.id, instances[0].number)
        meta = pydicom.dcmread(path).file_meta
    assert meta.TransferSyntaxUID == EXPLICIT
    assert meta.MediaStorageSOPInstanceUID == "1.2.0"
    assert meta.ImplementationClassUID == "1.2.3.4"
    assert meta.SourceApplicationEntityTitle == "CT01"
    assert meta.ReceivingApplicationEntityTitle == "BRAIN"
    assert (record.calling_ae_title, record.called_ae_title, record.peer_host) == ("CT01", "BRAIN", "127.0.0.1")
    assert record.outcome is AssociationOutcome.RELEASED
    assert [(one.sop_instance_uid, one.study_instance_uid, one.series_instance_uid) for one in instances] == [
        (f"1.2.{number}", "1.2.3", "1.2.3.4") for number in range(4)
    ]
    assert scp.left == 1


def test_what_was_refused_is_on_record_with_the_true_reason(tmp_path: Path) -> None:
    with running(tmp_path / "storage") as scp:
        connection = scp.associate()
        store(connection, tmp_path)
        scp.full = True
        for number, uid in enumerate(["1.2.77", "1.2.77", "1.2.78"], start=2):
            assert store(connection, tmp_path, sop_instance=uid, message_id=number).status == 0xA700
        assert store(connection, tmp_path, sop_instance="not a UID", message_id=5).status == 0x0117
        connection.release()
        [(record, _)] = scp.closed_associations()
        refusals, other = sorted(scp.listener.rejections(), key=lambda one: -one.times)
    no_uid = other.rejection.why
    full, why = "A700H Refused: out of resources", "the storage folder has too little free space"
    assert record.refused == Refused(4, f"{words(0x0117)} ({no_uid})", ("1.2.77", "1.2.78"), unnamed=1)
    assert (refusals.rejection, refusals.times) == (Rejection("CT01", "BRAIN", "127.0.0.1", full, why), 3)


def test_a_data_set_that_takes_the_reserve_is_refused_and_gone_before_it_ends(tmp_path: Path) -> None:
    data = data_set(CT, "1.2.9", 600_000)
    data += b"\0" * (-len(data) % 3)
    third = len(data) // 3
    pdus = [
        p_data_header(1, is_command=False, is_last=number == 2, length=third) + data[number * third :][:third]
        for number in range(3)
    ]
    with running(tmp_path / "storage") as scp:
        connection = scp.associate()
        store(connection, tmp_path)
        parts = scp.spool.layout.tmp
        connection.send_command(1, c_store_rq(2, CT, "1.2.9"))
        connection._send(pdus[0])
        eventually(lambda: any(path.stat().st_size >= third for path in parts.rglob("*.part")))
        scp.full = True
        connection._send(pdus[1])
        eventually(lambda: not list(parts.rglob("*.part")))  # though the data set goes on
        connection._send(pdus[2])
        received = connection.receive_command()
        assert received is not None
        assert (received[1].status, received[1].error_comment) == (
            0xA700,
            "the storage folder has too little free space",
        )
        scp.full = False
        assert store(connection, tmp_path, sop_instance="1.2.10", message_id=3).status == 0
        connection.release()
        assert len(scp.stored()) == 2


@pytest.mark.parametrize("error", [errno.EIO, errno.EMFILE, errno.ENOSPC])
def test_a_disk_that_fails_is_not_told_as_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    def fails(_fs: FileSystem, name: str, _directory: int) -> int:
        raise OSError(error, os.strerror(error))

    with running(tmp_path / "storage", durability=Durability.INSTANCE) as scp:
        monkeypatch.setattr(FileSystem, "create", fails)
        connection = scp.associate()
        answer = store(connection, tmp_path)
        assert (answer.status, answer.error_comment) == (
            0xA700,
            f"cannot create a file in the spool ({os.strerror(error)})",
        )
        connection.release()
        [refusals] = scp.listener.rejections()
        assert refusals.rejection.why == answer.error_comment


def real_files() -> Iterator[tuple[Path, str, str, str]]:
    """One file of each transfer syntax and SOP Class that pydicom ships: path, transfer syntax, class, instance."""
    seen = set()
    for path in readable_files():
        syntax = read_file_meta_info(path).TransferSyntaxUID
        head = pydicom.dcmread(path, specific_tags=["SOPClassUID", "SOPInstanceUID"], stop_before_pixels=True)
        kind = syntax, head.SOPClassUID
        if kind not in seen and is_valid_uid(head.SOPInstanceUID) and path.stat().st_size < 2_000_000:
            seen.add(kind)
            yield path, syntax, head.SOPClassUID, head.SOPInstanceUID


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_real_files_of_every_transfer_syntax(tmp_path: Path) -> None:
    files = list(real_files())
    assert len({syntax for _, syntax, _, _ in files}) > 10
    sent = []
    with running(tmp_path / "storage") as scp:
        pairs = tuple(dict.fromkeys((sop_class, (syntax,)) for _, syntax, sop_class, _ in files))
        connection = scp.associate(*pairs)
        ids = {(c.abstract_syntax, c.transfer_syntax): c.id for c in connection.contexts.values()}
        for path, syntax, sop_class, sop_instance in files:
            content = io.BytesIO(path.read_bytes())
            pydicom.filereader.read_preamble(content, False)
            pydicom.filereader._read_file_meta_info(content)
            encoded = content.read()
            sent.append(encoded + b"\0" * (len(encoded) % 2))  # as it is on the wire, PS3.5 A.5
            answer = store(
                connection,
                tmp_path,
                sent[-1],
                sop_class=sop_class,
                sop_instance=sop_instance,
                context_id=ids[sop_class, syntax],
            )
            assert answer.status == 0, path
        connection.release()
        assert scp.stored() == sent


def test_an_association_that_stores_nothing_leaves_no_trace(tmp_path: Path) -> None:
    with running(tmp_path / "storage") as scp:
        scp.associate().release()
        connection = scp.associate()
        store(connection, tmp_path, b"")
        connection.release()
        eventually(lambda: scp.left == 2)
        assert scp.outcomes() == []
        assert list(scp.spool.layout.tmp.iterdir()) == list(scp.spool.layout.new.iterdir()) == []


def test_abort_keeps_what_was_acknowledged_apart_and_nothing_else(tmp_path: Path) -> None:
    with running(tmp_path / "storage") as scp:
        connection = scp.associate()
        store(connection, tmp_path)
        (tmp_path / "half").write_bytes(data_set(CT, "1.2.9", 500_000))
        connection.send_command(1, c_store_rq(2, CT, "1.2.9"))
        with (tmp_path / "half").open("rb") as file:
            connection._send(
                b"\x04\x00" + (100_006).to_bytes(4, "big") + (100_002).to_bytes(4, "big") + b"\1\0", more=True
            )
            connection._send_file(file.fileno(), 0, 60_000)
        eventually(lambda: any(scp.spool.layout.tmp.rglob("*.part")))
        connection.abort()
        connection.close()
        eventually(lambda: scp.left > 0)
        assert scp.outcomes() == [(AssociationOutcome.ABORTED, 1)]
        assert list(scp.spool.layout.tmp.iterdir()) == []
        assert scp.listener.open_associations() == []


def test_a_failure_to_store_the_outcome_is_not_confirmed_to_the_peer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def close(*_args: object) -> bool:
        raise OutOfResources("no space")

    with running(tmp_path / "storage") as scp:
        connection = scp.associate()
        store(connection, tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(AssociationSpool, "close", close)
            with pytest.raises(AssociationEnded):
                connection.release()
            connection.close()
            eventually(lambda: scp.left > 0)
        assert scp.outcomes() == []


def dimse_lines(folder: Path, policy: ScpPolicy, *, abort: bool = False) -> list[dict[str, object]]:
    with capture_logs() as lines, running(folder / "storage", policy=policy) as scp:
        connection = scp.associate()
        store(connection, folder)
        store(connection, folder, b"", message_id=2)
        if abort:
            connection.send_command(1, c_store_rq(3, CT, "1.2.3.99"))
            connection.abort()
            connection.close()
        else:
            connection.release()
        eventually(lambda: scp.left > 0)
    return [dict(line) for line in lines if line["event"].startswith(("command set", "data set"))]


def test_log_dimse_datasets(tmp_path: Path) -> None:
    assert dimse_lines(tmp_path, ScpPolicy()) == []
    lines = dimse_lines(tmp_path, ScpPolicy(log_dimse_datasets=True))
    assert [line["event"] for line in lines] == [
        "command set received",
        "data set received",
        "command set sent",
        "command set received",
        "command set sent",
    ]
    assert "DOE" not in str(lines)
    cut_off = dimse_lines(tmp_path, ScpPolicy(log_dimse_datasets=True), abort=True)[-1]
    assert (cut_off["event"], cut_off["sop_instance"]) == ("command set received", "1.2.3.99")
    assert "DOE^JANE" in str(dimse_lines(tmp_path, ScpPolicy(log_dimse_datasets=True, log_phi=True)))


def test_nothing_of_the_patient_is_logged_at_any_level(tmp_path: Path) -> None:
    with capture_logs() as lines, running(tmp_path / "storage") as scp:
        connection = scp.associate()
        for number, data in enumerate([data_set(CT, "1.2.1"), b"\x10\x00\x10\x00PN\x08\x00DOE^JANE"]):
            store(connection, tmp_path, data, sop_instance="1.2.1", message_id=number + 1)
        connection.release()
        eventually(lambda: scp.left > 0)
    assert lines
    assert "DOE" not in str(lines)


def test_a_command_with_hostile_text_is_only_text(tmp_path: Path) -> None:
    hostile = "1.2\r\n\x1b[31m../../x"
    with running(tmp_path / "storage") as scp:
        connection = scp.associate()
        command = c_store_rq(1, CT, "1.2")._replace(affected_sop_instance_uid=hostile, has_data_set=False)
        connection.send_command(1, command)
        received = connection.receive_command()
        assert received is not None
        answer: CommandSet = received[1]
        assert answer.status == 0x0117
        connection.release()
