"""Bytes -> PDUs: each case whole, byte by byte and with trailing bytes; odd peers; what is refused, and the reason."""

from __future__ import annotations

import struct

import pytest

from dicom_adapter.dicom.errors import RemoteProtocolError
from dicom_adapter.dicom.pdu import (
    DEFAULT_MAX_PDU_LENGTH,
    AAssociateAC,
    AAssociateRQ,
    AbortReason,
    AbortSource,
    AReleaseRQ,
    PDataTFStart,
    Pdu,
    PdvFragment,
    ProposedContext,
    UserInformation,
)
from dicom_adapter.dicom.pdu_decoder import MAX_ASSOCIATE_LENGTH, PduDecoder
from dicom_adapter.dicom.pdu_encoder import encode
from tests.pdu_streams import byte_by_byte, decode_events, to_pdus
from tests.tables.pdus import APPLICATION_CONTEXT, SIMPLE_CASES, TITLES

NAMES = [case[0] for case in SIMPLE_CASES]
CASES = [case[1:] for case in SIMPLE_CASES]


@pytest.mark.parametrize(("pdu", "data"), CASES, ids=NAMES)
class TestEachPdu:
    def test_whole(self, pdu: Pdu, data: bytes) -> None:
        assert to_pdus(decode_events([data])) == [pdu]

    def test_byte_by_byte(self, pdu: Pdu, data: bytes) -> None:
        assert to_pdus(decode_events(byte_by_byte(data))) == [pdu]

    def test_with_trailing_bytes(self, pdu: Pdu, data: bytes) -> None:
        trailing = encode(AReleaseRQ())
        assert to_pdus(decode_events([data + trailing])) == [pdu, AReleaseRQ()]
        assert to_pdus(decode_events([data + trailing[:5]])) == [pdu]


def _rq(*items: bytes, titles: bytes = TITLES, version: int = 1) -> bytes:
    body = struct.pack(">HH", version, 0) + titles + bytes(32) + b"".join(items)
    return b"\x01\x00" + struct.pack(">I", len(body)) + body


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(body)) + body


def _context(context_id: int = 1, body: bytes | None = None) -> bytes:
    if body is None:
        body = _item(0x30, b"1.2") + _item(0x40, b"1.3")
    return _item(0x20, bytes((context_id, 0, 0, 0)) + body)


CONTEXT = _context()


class TestOddPeers:
    def test_titles_padded_with_nul_and_uids_with_spaces_or_nul(self) -> None:
        context = _context(body=_item(0x30, b"1.2 ") + _item(0x40, b"1.3\0"))
        titles = b"CALLED".ljust(16, b"\0") + b" CALLING\0".ljust(16, b"\0")
        [rq] = decode_events([_rq(_item(0x10, b"1.2.840.10008.3.1.1.1\0"), context, titles=titles)])
        assert isinstance(rq, AAssociateRQ)
        assert (rq.called_ae_title, rq.calling_ae_title) == ("CALLED", "CALLING")
        assert rq.application_context_name == "1.2.840.10008.3.1.1.1"
        assert rq.presentation_contexts == (ProposedContext(1, "1.2", ("1.3",)),)

    def test_unknown_items_and_sub_items_are_skipped(self) -> None:
        user = _item(0x50, _item(0x77, b"x") + _item(0x51, b"\0\0\x80\0") + _item(0x78, b""))
        context = _context(body=_item(0x30, b"1.2") + _item(0x60, b"?") + _item(0x40, b"1.3"))
        [rq] = decode_events([_rq(APPLICATION_CONTEXT, _item(0x99, b"?"), context, user)])
        assert isinstance(rq, AAssociateRQ)
        assert rq.presentation_contexts == (ProposedContext(1, "1.2", ("1.3",)),)
        assert rq.user_information == UserInformation(max_pdu_length=32768)

    def test_missing_user_information(self) -> None:
        [rq] = decode_events([_rq(APPLICATION_CONTEXT, CONTEXT)])
        assert isinstance(rq, AAssociateRQ)
        assert rq.user_information.max_pdu_length == DEFAULT_MAX_PDU_LENGTH

    def test_128_contexts(self) -> None:
        contexts = [_context(2 * i + 1) for i in range(128)]
        [rq] = decode_events([_rq(APPLICATION_CONTEXT, *contexts)])
        assert isinstance(rq, AAssociateRQ)
        assert [context.id for context in rq.presentation_contexts] == list(range(1, 256, 2))

    def test_reserved_bits_of_the_message_control_header_are_not_tested(self) -> None:
        [_, fragment] = decode_events([b"\x04\x00\x00\x00\x00\x06\x00\x00\x00\x02\x01\xff"])
        assert isinstance(fragment, PdvFragment)
        assert fragment.is_command
        assert fragment.is_last


MALFORMED = [
    ("PDU type 00H", b"\x00\x00\x00\x00\x00\x04", AbortReason.UNRECOGNIZED_PDU, "type 00H"),
    ("PDU type 08H", b"\x08\x00\x00\x00\x00\x04", AbortReason.UNRECOGNIZED_PDU, "type 08H"),
    ("an HTTP request", b"GET / HTTP/1.1\r\n\r\n", AbortReason.UNRECOGNIZED_PDU, "type 47H"),
    ("release request of 5 bytes", b"\x05\x00\x00\x00\x00\x05", None, "length is 4"),
    ("abort without its body", b"\x07\x00\x00\x00\x00\x00", None, "length is 4"),
    ("association request of 4 GiB", b"\x01\x00\xff\xff\xff\xff", None, "association PDU of 4294967295 bytes"),
    ("one byte above the limit", b"\x01\x00" + struct.pack(">I", MAX_ASSOCIATE_LENGTH + 1), None, "at most 1048576"),
    ("association request of 67 bytes", b"\x01\x00\x00\x00\x00\x43" + bytes(67), None, "at least 68"),
    ("P-DATA-TF beyond the announced length", b"\x04\x00\x00\x00\x40\x01", None, "at most the 16384"),
    ("P-DATA-TF without a PDV", b"\x04\x00\x00\x00\x00\x00", None, "holds no PDV"),
    ("PDV longer than its PDU", b"\x04\x00\x00\x00\x00\x06\x00\x00\x00\x03\x01\x03", None, "PDV of 3 bytes"),
    ("PDV of 4 GiB", b"\x04\x00\x00\x00\x00\x08\xff\xff\xff\xff\x01\x03", None, "PDV of 4294967295"),
    ("PDV of one byte", b"\x04\x00\x00\x00\x00\x08\x00\x00\x00\x01\x01\x03", None, "PDV of 1 bytes"),
    (
        "rest of the PDU shorter than a PDV header",
        b"\x04\x00\x00\x00\x00\x09\x00\x00\x00\x03\x01\x03a\x00\x00" + bytes(6),
        None,
        "2 bytes of its P-DATA-TF",
    ),
    ("no presentation context", _rq(APPLICATION_CONTEXT), None, "without a presentation context"),
    ("even context id", _rq(_context(2)), None, "odd numbers"),
    ("context id zero", _rq(_context(0)), None, "odd numbers"),
    ("context id twice", _rq(CONTEXT, CONTEXT), None, "proposed twice"),
    ("context of three bytes", _rq(_item(0x20, b"\1\0\0")), None, "ends too early"),
    ("context without abstract syntax", _rq(_context(body=_item(0x40, b"1.3"))), None, "lacks"),
    ("context without transfer syntax", _rq(_context(body=_item(0x30, b"1.2"))), None, "lacks"),
    ("item beyond the PDU", _rq(CONTEXT, b"\x10\x00\x00\x05abcd"), None, "beyond the end of the association PDU"),
    ("item header cut", _rq(CONTEXT, b"\x10\x00\x00"), None, "beyond the end of the association PDU"),
    ("sub-item beyond its item", _rq(CONTEXT, _item(0x50, b"\x51\0\0\4\0")), None, "end of the user information"),
    ("maximum length of 3 bytes", _rq(CONTEXT, _item(0x50, _item(0x51, b"\0\0\0"))), None, "51H ends too early"),
    ("maximum length too small", _rq(CONTEXT, _item(0x50, _item(0x51, b"\0\0\0\7"))), None, "cannot carry a PDV"),
    ("role selection cut", _rq(CONTEXT, _item(0x50, _item(0x54, b"\0\x031.2\1"))), None, "54H ends too early"),
    (
        "common extended cut",
        _rq(CONTEXT, _item(0x50, _item(0x57, b"\x00\x011\x00\x011\x00\x02\x00\x05"))),
        None,
        "related",
    ),
    ("identity cut", _rq(CONTEXT, _item(0x50, _item(0x58, b"\1\0\0\x09user"))), None, "58H ends too early"),
    (
        "unknown result of a context",
        b"\x02" + _rq(_item(0x21, b"\1\0\5\0"))[1:],
        None,
        "0 to 4 are allowed",
    ),
    ("context answered twice", b"\x02" + _rq(_item(0x21, b"\1\0\2\0") * 2)[1:], None, "answered twice"),
]


@pytest.mark.parametrize(
    ("data", "reason", "words"), [case[1:] for case in MALFORMED], ids=[case[0] for case in MALFORMED]
)
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "byte by byte"])
def test_malformed(data: bytes, reason: AbortReason | None, words: str, whole: bool) -> None:
    with pytest.raises(RemoteProtocolError, match=words) as raised:
        decode_events([data] if whole else byte_by_byte(data), max_pdu_length=16384)
    assert raised.value.abort_source is AbortSource.SERVICE_PROVIDER
    assert raised.value.abort_reason is (reason or AbortReason.INVALID_PDU_PARAMETER_VALUE)


def test_longest_announced_pdu_is_allowed() -> None:
    [start] = decode_events([b"\x04\x00\x00\x00\x40\x00"], max_pdu_length=16384)
    assert start == PDataTFStart(16384)


def test_a_refused_context_needs_no_transfer_syntax() -> None:
    [ac] = decode_events([b"\x02" + _rq(_item(0x21, b"\1\0\3\0"))[1:]])
    assert isinstance(ac, AAssociateAC)
    assert ac.presentation_contexts[0].transfer_syntax == ""


def _header(length: int, *, last: bool = True) -> bytes:
    return b"\x04\x00" + struct.pack(">IIBB", length + 6, length + 2, 1, 2 if last else 0)


class TestBypass:
    def test_a_fragment_with_more_to_come_has_all_the_input(self) -> None:
        decoder = PduDecoder(0)
        decoder.receive_data(memoryview(_header(100) + b"abc"))
        assert decoder.next_event() == PDataTFStart(106)
        assert decoder.next_event() == PdvFragment(1, False, True, memoryview(b"abc"), 97)
        assert decoder.next_event() is None

    def test_a_pdv_that_begins_is_told_before_its_bytes(self) -> None:
        decoder = PduDecoder(0)
        decoder.receive_data(memoryview(_header(100)))
        decoder.next_event()
        assert decoder.next_event() == PdvFragment(1, False, True, memoryview(b""), 100)
        assert decoder.next_event() is None

    def test_the_last_bytes_moved_give_an_empty_last_fragment(self) -> None:
        decoder = PduDecoder(0)
        decoder.receive_data(memoryview(_header(100)))
        while decoder.next_event():
            pass
        assert not decoder.bypassed(60)
        assert decoder.next_event() is None
        assert decoder.bypassed(40)
        assert decoder.pdus_completed == 0
        assert decoder.next_event() == PdvFragment(1, False, True, memoryview(b""), 0)
        assert decoder.pdus_completed == 1
        decoder.receive_data(memoryview(encode(AReleaseRQ())))
        assert decoder.next_event() == AReleaseRQ()

    def test_the_end_of_a_pdv_that_is_not_the_last_is_no_event(self) -> None:
        decoder = PduDecoder(0)
        decoder.receive_data(memoryview(_header(100, last=False)))
        while decoder.next_event():
            pass
        assert not decoder.bypassed(100)
        assert decoder.pdus_completed == 1
        assert decoder.next_event() is None
        decoder.receive_data(memoryview(encode(AReleaseRQ())))
        assert decoder.next_event() == AReleaseRQ()


@pytest.mark.parametrize("cut", range(13))
def test_without_announcement_the_fragments_are_the_same(cut: int) -> None:
    """The short way for a P-DATA-TF whose headers are there, and the long way for one that arrives in pieces."""
    stream = _header(4, last=False) + b"abcd" + _header(2) + b"ef" + encode(AReleaseRQ())
    decoder = PduDecoder(16384)
    decoder.announces_p_data = False
    events = []
    for chunk in (stream[:cut], stream[cut:]):
        decoder.receive_data(memoryview(chunk))
        while (event := decoder.next_event()) is not None:
            events.append(event)
    fragments = [event for event in events if isinstance(event, PdvFragment)]
    assert b"".join(bytes(one.data) for one in fragments if not one.is_last) == b"abcd"
    assert b"".join(bytes(one.data) for one in fragments if one.is_last) == b"ef"
    assert events[len(fragments) :] == [AReleaseRQ()]
    assert decoder.pdus_completed == 3


def test_memory_does_not_follow_the_length_field() -> None:
    """A P-DATA-TF of 4 GiB costs nothing, an association PDU only the bytes that came."""
    decoder = PduDecoder(0)
    decoder.receive_data(memoryview(b"\x04\x00\xff\xff\xff\xff\xff\xff\xff\xf0\x01\x00"))
    while decoder.next_event():
        pass
    chunk = memoryview(bytes(65536))
    for _ in range(64):
        decoder.receive_data(chunk)
        while decoder.next_event():
            pass
    assert len(decoder._kept) == 0
    decoder = PduDecoder(0)
    decoder.receive_data(memoryview(b"\x01\x00\x00\x10\x00\x00abc"))
    assert decoder.next_event() is None
    assert len(decoder._kept) == 3
