"""Messages from PDVs, PDVs from messages, and the responses (PS3.7 9, PS3.8 Annex E)."""

from __future__ import annotations

import pytest

from dicom_adapter.dicom import command_set
from dicom_adapter.dicom.command_set import CommandField, CommandSet
from dicom_adapter.dicom.dimse import (
    MessageReceiver,
    c_echo_rq,
    c_echo_rsp,
    c_store_rq,
    c_store_rsp,
    command_pdus,
    fragments,
    response,
    unrecognized_operation,
)
from dicom_adapter.dicom.errors import RemoteProtocolError
from dicom_adapter.dicom.pdu import AbortReason, AbortSource, PDataTF, PdvFragment
from tests.pdu_streams import decode_events, to_pdus

ECHO = c_echo_rq(1)
STORE = c_store_rq(2, "1.2", "1.3")


def pdv(data: bytes, *, context: int = 1, command: bool = True, last: bool = True, remaining: int = 0) -> PdvFragment:
    return PdvFragment(context, command, last, memoryview(data), remaining)


def receiver() -> MessageReceiver:
    return MessageReceiver({1, 3})


class TestMessageReceiver:
    def test_command_without_data_set(self) -> None:
        messages = receiver()
        assert messages.receive(pdv(command_set.encode(ECHO))) == (1, ECHO)
        assert messages.between_messages
        assert not messages.expects_data_set

    def test_command_in_pieces_and_an_empty_last_pdv(self) -> None:
        messages, data = receiver(), command_set.encode(ECHO)
        assert messages.receive(pdv(data[:5], last=False, remaining=5)) is None
        assert messages.receive(pdv(data[5:10], last=False)) is None
        assert not messages.between_messages
        assert messages.receive(pdv(data[10:], last=False)) is None
        assert messages.receive(pdv(b"")) == (1, ECHO)

    def test_command_with_data_set(self) -> None:
        messages = receiver()
        assert messages.receive(pdv(command_set.encode(STORE), context=3)) == (3, STORE)
        for fragment in (
            pdv(b"abc", context=3, command=False, last=False),
            pdv(b"", context=3, command=False, last=False),
            pdv(b"def", context=3, command=False, remaining=4),
        ):
            assert messages.receive(fragment) is None
            assert messages.expects_data_set
        assert messages.receive(pdv(b"ghij", context=3, command=False)) is None
        assert not messages.expects_data_set
        assert messages.between_messages
        assert messages.receive(pdv(command_set.encode(ECHO))) == (1, ECHO)

    @pytest.mark.parametrize(
        ("before", "fragment", "reason", "words"),
        [
            ([], pdv(b"", context=5), AbortReason.INVALID_PDU_PARAMETER_VALUE, "5, which was not accepted"),
            ([], pdv(b"", command=False), AbortReason.UNEXPECTED_PDU_PARAMETER, "data set where one of a command"),
            (
                [pdv(b"", last=False)],
                pdv(b"", command=False),
                AbortReason.UNEXPECTED_PDU_PARAMETER,
                "data set where one of a command",
            ),
            (
                [pdv(command_set.encode(STORE))],
                pdv(b""),
                AbortReason.UNEXPECTED_PDU_PARAMETER,
                "command where one of a data set",
            ),
            (
                [pdv(command_set.encode(STORE))],
                pdv(b"", context=3, command=False),
                AbortReason.INVALID_PDU_PARAMETER_VALUE,
                "context 3 inside a message of context 1",
            ),
            (
                [pdv(b"", last=False)],
                pdv(b"", context=3),
                AbortReason.INVALID_PDU_PARAMETER_VALUE,
                "context 3 inside a message of context 1",
            ),
        ],
    )
    def test_misplaced_pdv(
        self, before: list[PdvFragment], fragment: PdvFragment, reason: AbortReason, words: str
    ) -> None:
        messages = receiver()
        for earlier in before:
            messages.receive(earlier)
        with pytest.raises(RemoteProtocolError, match=words) as raised:
            messages.receive(fragment)
        assert raised.value.abort_source is AbortSource.SERVICE_PROVIDER
        assert raised.value.abort_reason is reason

    def test_command_set_is_bounded_before_it_is_here(self) -> None:
        with pytest.raises(RemoteProtocolError, match="more than 65536 bytes"):
            receiver().receive(pdv(b"", remaining=65537))

    def test_command_set_is_bounded_over_many_pdvs(self) -> None:
        messages = receiver()
        messages.receive(pdv(bytes(65536), last=False))
        with pytest.raises(RemoteProtocolError, match="more than 65536 bytes"):
            messages.receive(pdv(b"x", last=False))


@pytest.mark.parametrize("max_pdu_length", [0, 8, 9, 16, 100, 16384])
def test_command_pdus_have_the_peers_size(max_pdu_length: int) -> None:
    pdus = to_pdus(decode_events([command_pdus(3, STORE, max_pdu_length)], max_pdu_length))
    messages = receiver()
    received = [
        messages.receive(pdv(value.data, context=value.context_id, command=value.is_command, last=value.is_last))
        for pdu in pdus
        if isinstance(pdu, PDataTF)
        for value in pdu.pdvs
    ]
    assert received[-1] == (3, STORE)
    assert set(received[:-1]) <= {None}


@pytest.mark.parametrize(
    ("length", "max_pdu_length", "expected"),
    [
        (0, 16384, [(0, 0)]),
        (10, 16, [(0, 10)]),
        (11, 16, [(0, 10), (10, 1)]),
        (20, 17, [(0, 10), (10, 10)]),
        (5, 8, [(0, 2), (2, 2), (4, 1)]),
        (3 << 20, 0, [(0, 1048570), (1048570, 1048570), (2097140, 1048570), (3145710, 18)]),
    ],
)
def test_fragments(length: int, max_pdu_length: int, expected: list[tuple[int, int]]) -> None:
    assert list(fragments(length, max_pdu_length)) == expected


def test_responses_repeat_the_request() -> None:
    assert c_echo_rsp(ECHO) == CommandSet(
        command_field=CommandField.C_ECHO_RSP,
        message_id_being_responded_to=1,
        affected_sop_class_uid="1.2.840.10008.1.1",
        status=0,
    )
    assert c_store_rsp(STORE, 0xA700, "no space") == CommandSet(
        command_field=CommandField.C_STORE_RSP,
        message_id_being_responded_to=2,
        affected_sop_class_uid="1.2",
        affected_sop_instance_uid="1.3",
        status=0xA700,
        error_comment="no space",
    )


def test_error_comment_has_64_characters_at_most() -> None:
    assert response(STORE, 0x0110, "x" * 100).error_comment == "x" * 64


@pytest.mark.parametrize("field", [0x0010, 0x0020, 0x0021, 0x0100, 0x0110, 0x0120, 0x0130, 0x0140, 0x0150, 0x0042])
def test_any_other_request_is_an_unrecognized_operation(field: int) -> None:
    request = CommandSet(
        command_field=field, message_id=9, requested_sop_class_uid="1.2", requested_sop_instance_uid="1.3"
    )
    assert unrecognized_operation(request) == CommandSet(
        command_field=field | 0x8000,
        message_id_being_responded_to=9,
        affected_sop_class_uid="1.2",
        affected_sop_instance_uid="1.3",
        status=0x0211,
    )


@pytest.mark.parametrize("field", [CommandField.C_CANCEL_RQ, CommandField.C_STORE_RSP, 0x8020])
def test_what_has_no_response_gets_none(field: int) -> None:
    assert unrecognized_operation(CommandSet(command_field=field)) is None
