"""Golden captures of real peers (`tests/captures`): read as what they mean, and written again as the same bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from dicom_adapter.dicom.command_set import decode
from dicom_adapter.dicom.command_set import encode as encode_command
from dicom_adapter.dicom.pdu import (
    AAssociateAC,
    AAssociateRQ,
    AReleaseRP,
    AReleaseRQ,
    AsynchronousOperationsWindow,
    DecodedEvent,
    PdvFragment,
    RoleSelection,
    SopClassCommonExtended,
    SopClassExtended,
    UserIdentity,
)
from dicom_adapter.dicom.pdu_encoder import encode
from tests.pdu_streams import byte_by_byte, decode_events, to_pdus

CAPTURES = Path(__file__).parents[2] / "captures"
ECHO_RQ, ECHO_RSP, STORE_RQ, STORE_RSP = 0x0030, 0x8030, 0x0001, 0x8001
VERIFICATION, SECONDARY_CAPTURE = "1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.1.7"
DCMTK = ("1.2.276.0.7230010.3.0.3.6.7", "OFFIS_DCMTK_367", 16384)
PYNETDICOM = ("1.2.826.0.1.3680043.9.3811.3.0.4", "PYNETDICOM_304", 16382)
GDCM = ("1.2.826.0.1.3680043.2.1143.107.104.103.115.3.0.21", "GDCM 3.0.21", 16384)


@dataclass(frozen=True)
class Capture:
    """What a capture means, as its .md says."""

    name: str
    called: str
    calling: str
    contexts: int
    requestor: tuple[str, str, int]  # implementation class UID, version name, maximum length
    acceptor: tuple[str, str, int]
    commands: tuple[int, ...]
    context_id: int = 1  # of the last command
    data_set_length: int = 324


CASES = [
    Capture("dcmtk_echoscu", "STORESCP", "ECHOSCU", 1, DCMTK, DCMTK, (ECHO_RQ,)),
    Capture("dcmtk_storescu", "STORESCP", "STORESCU", 128, DCMTK, DCMTK, (STORE_RQ,), context_id=201),
    Capture("dcmtk_dcmsend", "ORTHANC", "DCMSEND", 1, DCMTK, DCMTK, (STORE_RQ,)),
    Capture(
        "pynetdicom_store",
        "PYNETDICOM",
        "PYNETDICOM_SCU",
        2,
        PYNETDICOM,
        PYNETDICOM,
        (ECHO_RQ, STORE_RQ),
        context_id=3,
        data_set_length=320,
    ),
    Capture("pynetdicom_negotiate", "PYNETDICOM", "PYNETDICOM_SCU", 1, PYNETDICOM, PYNETDICOM, (ECHO_RQ,)),
    Capture("gdcmscu_echo", "ORTHANC", "GDCMSCU", 1, GDCM, DCMTK, (ECHO_RQ,)),
    Capture("gdcmscu_store", "STORESCP", "GDCMSCU", 1, GDCM, DCMTK, (STORE_RQ,)),
    Capture("orthanc_store", "STORESCP", "ORTHANC", 126, DCMTK, DCMTK, (STORE_RQ,)),
]
each_capture = pytest.mark.parametrize("capture", CASES, ids=lambda capture: capture.name)


def read(capture: Capture, side: str) -> bytes:
    return (CAPTURES / f"{capture.name}.{side}.bin").read_bytes()


def fragments(events: list[DecodedEvent], *, command: bool) -> list[PdvFragment]:
    return [event for event in events if isinstance(event, PdvFragment) and event.is_command == command]


@each_capture
def test_requestor(capture: Capture) -> None:
    events = decode_events([read(capture, "requestor")])
    rq = events[0]
    assert isinstance(rq, AAssociateRQ)
    assert (rq.called_ae_title, rq.calling_ae_title) == (capture.called, capture.calling)
    assert len(rq.presentation_contexts) == capture.contexts
    assert (
        rq.user_information.implementation_class_uid,
        rq.user_information.implementation_version_name,
        rq.user_information.max_pdu_length,
    ) == capture.requestor
    commands = [decode(bytes(fragment.data)) for fragment in fragments(events, command=True)]
    assert tuple(command.command_field for command in commands) == capture.commands
    assert fragments(events, command=True)[-1].context_id == capture.context_id
    for command in commands:
        is_store = command.command_field == STORE_RQ
        assert command.message_id is not None
        assert command.has_data_set == is_store
        assert command.affected_sop_class_uid == (SECONDARY_CAPTURE if is_store else VERIFICATION)
        assert command.affected_sop_instance_uid == ("2.25.1001" if is_store else None)
    data_sets = [len(fragment.data) for fragment in fragments(events, command=False)]
    assert data_sets == ([capture.data_set_length] if STORE_RQ in capture.commands else [])
    assert events[-1] == AReleaseRQ()


@each_capture
def test_acceptor(capture: Capture) -> None:
    events = decode_events([read(capture, "acceptor")])
    ac = events[0]
    assert isinstance(ac, AAssociateAC)
    assert (ac.called_ae_title, ac.calling_ae_title) == (capture.called, capture.calling)
    assert len(ac.presentation_contexts) == capture.contexts
    assert (
        ac.user_information.implementation_class_uid,
        ac.user_information.implementation_version_name,
        ac.user_information.max_pdu_length,
    ) == capture.acceptor
    commands = [decode(bytes(fragment.data)) for fragment in fragments(events, command=True)]
    assert [command.command_field for command in commands] == [field | 0x8000 for field in capture.commands]
    assert {command.status for command in commands} == {0}
    assert events[-1] == AReleaseRP()


def test_every_negotiation_is_understood() -> None:
    rq = decode_events([(CAPTURES / "pynetdicom_negotiate.requestor.bin").read_bytes()])[0]
    assert isinstance(rq, AAssociateRQ)
    user = rq.user_information
    assert user.asynchronous_operations_window == AsynchronousOperationsWindow(5, 0)
    assert user.role_selections == (RoleSelection(VERIFICATION, scu_role=True, scp_role=True),)
    assert user.sop_class_extended == (SopClassExtended(SECONDARY_CAPTURE, b"\2\0\3\0\1\0"),)
    assert user.sop_class_common_extended == (
        SopClassCommonExtended(
            "1.2.840.10008.5.1.4.1.1.88.22", "1.2.840.10008.4.2", ("1.2.840.10008.5.1.4.1.1.88.11",)
        ),
    )
    assert user.user_identity == UserIdentity(2, True, b"user", b"passcode")


@each_capture
@pytest.mark.parametrize("side", ["requestor", "acceptor"])
def test_byte_by_byte(capture: Capture, side: str) -> None:
    data = read(capture, side)
    assert decode_events(byte_by_byte(data)) == decode_events([data])


@each_capture
@pytest.mark.parametrize("side", ["requestor", "acceptor"])
def test_written_again(capture: Capture, side: str) -> None:
    """Peers and we write the same bytes, up to the order of sub-items and what is not significant."""
    data = read(capture, side)
    events = decode_events([data])
    assert decode_events([b"".join(map(encode, to_pdus(events)))]) == events
    for fragment in fragments(events, command=True):
        command = bytes(fragment.data)
        assert encode_command(decode(command)) == command


def test_every_capture_is_described_and_read() -> None:
    names = {path.name.partition(".")[0] for path in CAPTURES.glob("*.bin")}
    assert names == {capture.name for capture in CASES}
    assert names == {path.stem for path in CAPTURES.glob("*.md")}
