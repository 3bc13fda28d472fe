"""Smoke against real peers, both directions: DCMTK and pynetdicom. The matrix of syntaxes and objects: `interop`."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association

from dicom_adapter.dicom import dimse
from dicom_adapter.dicom.negotiation import propose
from dicom_adapter.dicom.pdu import AAssociateRQ
from dicom_adapter.net.connection import Connection, Timeouts
from tests.associations import IMPLICIT, MAX_PDU_LENGTH, acceptor, serve_storage

pytestmark = pytest.mark.interop

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
VERIFICATION = dimse.VERIFICATION_SOP_CLASS
RQ = AAssociateRQ("CALLED", "CALLING", propose([(VERIFICATION, (IMPLICIT,)), (SECONDARY_CAPTURE, (IMPLICIT,))]))


def data_set(size: int) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = UID(SECONDARY_CAPTURE)
    dataset.file_meta.MediaStorageSOPInstanceUID = UID("2.25.1")
    dataset.SOPClassUID = SECONDARY_CAPTURE
    dataset.SOPInstanceUID = "2.25.1"
    dataset.EncapsulatedDocument = bytes(size)
    return dataset


def send(port: int, payload: bytes, tmp_path: Path) -> list[int | None]:
    """C-ECHO and one C-STORE from us; the statuses."""
    file = tmp_path / "payload"
    file.write_bytes(payload)
    connection = Connection.request("127.0.0.1", port, RQ, max_pdu_length=MAX_PDU_LENGTH, timeouts=Timeouts())
    statuses = []
    connection.send_command(1, dimse.c_echo_rq(1))
    message = connection.receive_command()
    assert message is not None
    statuses.append(message[1].status)
    with file.open("rb") as opened:
        connection.send_command(3, dimse.c_store_rq(2, SECONDARY_CAPTURE, "2.25.1"))
        connection.send_data_set(3, opened.fileno(), 0, len(payload))
    message = connection.receive_command()
    assert message is not None
    statuses.append(message[1].status)
    connection.release()
    connection.close()
    return statuses


def _pause_reactor(association: Association) -> None:
    """pynetdicom's reactor says that it is paused before it is, and then takes the response that `send_...` waits for.

    An acceptor that answers within a millisecond meets that; so pause it here, and see it pause.
    """
    association._reactor_checkpoint.clear()
    until = time.monotonic() + 0.1  # a hundred of its rounds
    while time.monotonic() < until or not association._is_paused:
        time.sleep(0.001)


@pytest.mark.parametrize("size", [10, 500_000])
def test_pynetdicom_to_us(size: int) -> None:
    received: list[bytes] = []
    with acceptor(serve_storage(received=received)) as running:
        ae = AE("PYNETDICOM")
        ae.add_requested_context(VERIFICATION)
        ae.add_requested_context(SECONDARY_CAPTURE, IMPLICIT)
        association = ae.associate("127.0.0.1", running.port)
        assert association.is_established
        _pause_reactor(association)
        assert association.send_c_echo().Status == 0
        _pause_reactor(association)
        assert association.send_c_store(data_set(size)).Status == 0
        association.release()
        assert association.is_released
    assert received[0].endswith(bytes(size))


@pytest.mark.parametrize("size", [10, 500_000])
def test_us_to_pynetdicom(size: int, tmp_path: Path) -> None:
    received: list[bytes] = []

    def store(event: evt.Event) -> int:
        received.append(event.encoded_dataset(include_meta=False))
        return 0

    ae = AE("PYNETDICOM")
    ae.add_supported_context(VERIFICATION)
    ae.add_supported_context(SECONDARY_CAPTURE, IMPLICIT)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert server is not None
    try:
        payload = b"\x08\x00\x18\x00\x08\x00\x00\x002.25.1\0\0" + bytes(size)
        assert send(server.server_address[1], payload, tmp_path) == [0, 0]
        assert received == [payload]
    finally:
        server.shutdown()


@pytest.mark.skipif(shutil.which("echoscu") is None, reason="DCMTK is not installed")
class TestDcmtk:
    def test_echoscu_to_us(self) -> None:
        with acceptor(serve_storage()) as running:
            command = ["echoscu", "--repeat", "3", "127.0.0.1", str(running.port)]
            subprocess.run(command, check=True, timeout=30)

    def test_storescu_to_us(self, tmp_path: Path) -> None:
        file = tmp_path / "instance.dcm"
        data_set(500_000).save_as(file, enforce_file_format=True)
        received: list[bytes] = []
        with acceptor(serve_storage(received=received)) as running:
            command = ["storescu", "-xi", "127.0.0.1", str(running.port), str(file), str(file)]
            subprocess.run(command, check=True, timeout=30)
        assert len(received) == 2
        assert received[0].endswith(bytes(500_000))

    @pytest.fixture
    def storescp(self, tmp_path: Path) -> Iterator[int]:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        process = subprocess.Popen(["storescp", "--output-directory", str(tmp_path), str(port)])
        try:
            deadline = time.monotonic() + 20
            while True:
                try:
                    with socket.create_connection(("127.0.0.1", port)):
                        break
                except OSError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            yield port
        finally:
            process.terminate()
            process.wait(20)

    def test_us_to_storescp(self, storescp: int, tmp_path: Path) -> None:
        payload = b"\x08\x00\x16\x00\x1a\x00\x00\x00" + SECONDARY_CAPTURE.encode() + b"\0"
        payload += b"\x08\x00\x18\x00\x06\x00\x00\x002.25.1"
        payload += b"\xe0\x7f\x10\x00\x20\xa1\x07\x00" + bytes(500_000)
        assert send(storescp, payload, tmp_path) == [0, 0]
        [stored] = tmp_path.glob("*2.25.1")
        assert stored.read_bytes().endswith(bytes(500_000))
