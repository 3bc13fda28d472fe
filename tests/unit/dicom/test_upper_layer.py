"""The association as transcripts: what is received, what it indicates, what is sent, and when it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from dicom_adapter.dicom.errors import LocalProtocolError, RemoteProtocolError
from dicom_adapter.dicom.negotiation import accept, answer_contexts, propose
from dicom_adapter.dicom.pdu import (
    AAbort,
    AAssociateRJ,
    AAssociateRQ,
    AbortReason,
    AbortSource,
    AReleaseRP,
    AReleaseRQ,
    PDataTF,
    Pdu,
    Pdv,
    PdvFragment,
)
from dicom_adapter.dicom.pdu_encoder import encode
from dicom_adapter.dicom.state_machine import State
from dicom_adapter.dicom.upper_layer import Association, Role, UpperLayerEvent
from tests.pdu_streams import decode_events, to_pdus

RQ = AAssociateRQ("CALLED", "CALLING", propose([("1.2.840.10008.1.1", ("1.2.840.10008.1.2",))]))
AC = accept(
    RQ,
    answer_contexts(RQ.presentation_contexts, lambda context: context.transfer_syntaxes[0]),
    max_pdu_length=16384,
    implementation_class_uid="1.2.3",
    implementation_version_name="",
)
DATA = PDataTF((Pdv(1, True, True, b"ab"), Pdv(1, False, True, b"cd")))
INVALID = b"\x08\x00\x00\x00\x00\x00"
ARTIM = 30.0


class Peer:
    """One association and what the other side saw of it."""

    def __init__(self, role: Role) -> None:
        self.association = Association(role, max_pdu_length=16384, artim=ARTIM)

    def receive(self, *pdus: Pdu | bytes, now: float = 0.0) -> list[UpperLayerEvent]:
        data = b"".join(pdu if isinstance(pdu, bytes) else encode(pdu) for pdu in pdus)
        self.association.receive_data(memoryview(data), now)
        events = []
        while (event := self.association.next_event()) is not None:
            events.append(event)
        return events

    def sent(self) -> list[Pdu]:
        return to_pdus(decode_events([self.association.data_to_send()]))

    def state(self) -> State:
        return self.association.state


def new_acceptor(now: float = 0.0) -> Peer:
    peer = Peer(Role.ACCEPTOR)
    peer.association.transport_connected(now)
    return peer


def acceptor() -> Peer:
    """In Sta6."""
    peer = new_acceptor()
    assert peer.receive(RQ) == [RQ]
    peer.association.accept(AC)
    assert peer.sent() == [AC]
    assert peer.state() is State.STA6
    return peer


def requestor() -> Peer:
    """In Sta6."""
    peer = Peer(Role.REQUESTOR)
    peer.association.request(RQ)
    assert peer.sent() == [RQ]
    assert peer.receive(AC) == [AC]
    assert peer.state() is State.STA6
    return peer


class TestEstablishment:
    def test_artim_runs_until_the_request_and_bytes_do_not_restart_it(self) -> None:
        peer = new_acceptor(now=100.0)
        assert peer.association.next_timer == 130.0
        data = encode(RQ)
        assert peer.receive(data[:50], now=129.0) == []
        assert peer.association.next_timer == 130.0
        assert peer.receive(data[50:], now=129.5) == [RQ]
        assert peer.association.next_timer is None

    def test_artim_expires(self) -> None:
        peer = new_acceptor(now=100.0)
        assert not peer.association.handle_timer(129.9)
        assert peer.association.handle_timer(130.0)
        assert peer.association.closing
        assert peer.sent() == []

    def test_rejected_by_the_user(self) -> None:
        peer = new_acceptor()
        peer.receive(RQ)
        peer.association.reject(AAssociateRJ(1, 1, 7), now=5.0)
        assert peer.sent() == [AAssociateRJ(1, 1, 7)]
        assert (peer.state(), peer.association.next_timer) == (State.STA13, 35.0)

    @pytest.mark.parametrize(
        ("rq", "rj"),
        [
            (replace(RQ, protocol_version=2), AAssociateRJ(1, 2, 2)),
            (replace(RQ, application_context_name="1.2"), AAssociateRJ(1, 1, 2)),
        ],
    )
    def test_rejected_by_the_provider(self, rq: AAssociateRQ, rj: AAssociateRJ) -> None:
        peer = new_acceptor()
        assert peer.receive(rq, now=1.0) == []
        assert peer.association.rejected == rj
        assert peer.sent() == [rj]
        assert (peer.state(), peer.association.next_timer) == (State.STA13, 31.0)

    @pytest.mark.parametrize("pdu", [AC, AAssociateRJ(1, 1, 1), DATA, AReleaseRQ(), AReleaseRP(), INVALID])
    def test_anything_else_first_is_answered_by_an_abort_of_the_user(self, pdu: Pdu | bytes) -> None:
        peer = new_acceptor()
        with pytest.raises(RemoteProtocolError) as raised:
            peer.receive(pdu, now=1.0)
        assert raised.value.abort_source is AbortSource.SERVICE_USER
        assert peer.sent() == [AAbort(0, 0)]
        assert (peer.state(), peer.association.next_timer) == (State.STA13, 31.0)

    def test_abort_or_close_first_is_no_event(self) -> None:
        peer = new_acceptor()
        assert peer.receive(AAbort(0, 0)) == []
        assert peer.association.closing
        peer = new_acceptor()
        assert not peer.association.transport_closed()
        assert peer.association.next_timer is None

    def test_requestor_is_rejected(self) -> None:
        peer = Peer(Role.REQUESTOR)
        peer.association.request(RQ)
        assert peer.receive(AAssociateRJ(2, 3, 2)) == [AAssociateRJ(2, 3, 2)]
        assert peer.association.closing

    @pytest.mark.parametrize("pdu", [RQ, DATA, AReleaseRQ(), AReleaseRP()])
    def test_requestor_gets_anything_else(self, pdu: Pdu) -> None:
        peer = Peer(Role.REQUESTOR)
        peer.association.request(RQ)
        peer.sent()
        with pytest.raises(RemoteProtocolError) as raised:
            peer.receive(pdu)
        assert raised.value.abort_reason is AbortReason.UNEXPECTED_PDU
        assert peer.sent() == [AAbort(2, 2)]


@pytest.mark.parametrize("make", [acceptor, requestor])
class TestEstablished:
    def test_data(self, make: Callable[[], Peer]) -> None:
        fragments = make().receive(DATA)
        assert [(bytes(f.data), f.is_command, f.remaining) for f in fragments if isinstance(f, PdvFragment)] == [
            (b"ab", True, 0),
            (b"cd", False, 0),
        ]

    @pytest.mark.parametrize("pdu", [RQ, AC, AAssociateRJ(1, 1, 1), AReleaseRP()])
    def test_unexpected_pdu(self, make: Callable[[], Peer], pdu: Pdu) -> None:
        peer = make()
        with pytest.raises(RemoteProtocolError, match="not allowed in Sta6") as raised:
            peer.receive(pdu, now=7.0)
        assert raised.value.abort_reason is AbortReason.UNEXPECTED_PDU
        assert peer.sent() == [AAbort(2, 2)]
        assert (peer.state(), peer.association.next_timer) == (State.STA13, 37.0)

    def test_invalid_pdu_ends_reading(self, make: Callable[[], Peer]) -> None:
        peer = make()
        with pytest.raises(RemoteProtocolError):
            peer.receive(INVALID, now=7.0)
        assert peer.sent() == [AAbort(2, 1)]
        assert peer.receive(DATA, AAbort(0, 0), b"anything") == []
        assert peer.sent() == []
        assert not peer.association.transport_closed()
        assert peer.state() is State.STA1

    def test_abort_received(self, make: Callable[[], Peer]) -> None:
        peer = make()
        assert peer.receive(AAbort(2, 6), DATA) == [AAbort(2, 6)]
        assert peer.association.closing
        assert not peer.association.transport_closed()

    def test_abort_sent(self, make: Callable[[], Peer]) -> None:
        peer = make()
        peer.association.abort(now=3.0)
        assert peer.sent() == [AAbort(0, 0)]
        assert peer.association.next_timer == 33.0
        assert peer.receive(DATA, AReleaseRQ(), now=20.0) == []
        assert peer.association.next_timer == 33.0
        assert peer.association.handle_timer(33.0)
        assert peer.association.closing

    def test_provider_abort_for_misplaced_pdvs(self, make: Callable[[], Peer]) -> None:
        peer = make()
        peer.association.provider_abort(AbortReason.UNEXPECTED_PDU_PARAMETER, now=3.0)
        assert peer.sent() == [AAbort(2, 5)]
        assert peer.receive(DATA) == []

    def test_connection_lost(self, make: Callable[[], Peer]) -> None:
        assert make().association.transport_closed()

    def test_release_by_the_peer(self, make: Callable[[], Peer]) -> None:
        peer = make()
        assert peer.receive(AReleaseRQ()) == [AReleaseRQ()]
        peer.association.send_data()  # AR-7: a response may still go out
        peer.association.confirm_release(now=2.0)
        assert peer.sent() == [AReleaseRP()]
        assert (peer.state(), peer.association.next_timer) == (State.STA13, 32.0)
        assert not peer.association.transport_closed()

    def test_release_by_us(self, make: Callable[[], Peer]) -> None:
        peer = make()
        peer.association.release()
        assert peer.sent() == [AReleaseRQ()]
        assert len(peer.receive(DATA)) == 2  # AR-6
        with pytest.raises(LocalProtocolError):
            peer.association.send_data()
        assert peer.receive(AReleaseRP()) == [AReleaseRP()]
        assert peer.association.closing

    def test_invalid_pdu_after_the_end_concerns_nobody(self, make: Callable[[], Peer]) -> None:
        peer = make()
        peer.association.abort(now=0.0)
        peer.sent()
        assert peer.receive(INVALID) == []
        assert peer.sent() == [AAbort(0, 0)]  # AA-7


class TestReleaseCollision:
    def test_requestor(self) -> None:
        peer = requestor()
        peer.association.release()
        assert peer.receive(AReleaseRQ()) == [AReleaseRQ()]
        assert peer.state() is State.STA9
        peer.association.confirm_release(now=0.0)
        assert peer.sent() == [AReleaseRQ(), AReleaseRP()]
        assert peer.receive(AReleaseRP()) == [AReleaseRP()]
        assert peer.association.closing

    def test_acceptor(self) -> None:
        peer = acceptor()
        peer.association.release()
        assert peer.receive(AReleaseRQ()) == [AReleaseRQ()]
        assert peer.state() is State.STA10
        assert peer.receive(AReleaseRP()) == [AReleaseRP()]
        assert peer.state() is State.STA12
        peer.association.confirm_release(now=0.0)
        assert peer.state() is State.STA13


def test_association_request_in_place_of_data_after_the_end_is_aborted_again() -> None:
    peer = acceptor()
    peer.association.abort(now=0.0)
    peer.sent()
    assert peer.receive(RQ) == []
    assert peer.sent() == [AAbort(0, 0)]  # AA-7


def test_the_shell_may_move_what_remains_of_data_that_is_delivered() -> None:
    header = b"\x04\x00\x00\x00\x00\x6a\x00\x00\x00\x66\x01\x02"
    peer = acceptor()
    [first] = peer.receive(header)
    assert isinstance(first, PdvFragment)
    assert first.remaining == 100
    assert peer.association.receiving_pdu_length == 106
    assert peer.association.bypassed(100)
    [last] = peer.receive()
    assert isinstance(last, PdvFragment)
    assert last.remaining == 0
    assert peer.association.pdus_received == 2
    assert peer.association.receiving_pdu_length == 0
    peer = acceptor()
    peer.association.abort(now=0.0)
    assert peer.receive(header) == []


def test_two_of_us_understand_each_other() -> None:
    ours, theirs = Peer(Role.REQUESTOR), new_acceptor()
    ours.association.request(RQ)
    assert theirs.receive(ours.association.data_to_send()) == [RQ]
    theirs.association.accept(AC)
    assert ours.receive(theirs.association.data_to_send()) == [AC]
    ours.association.release()
    assert theirs.receive(ours.association.data_to_send()) == [AReleaseRQ()]
    theirs.association.confirm_release(now=0.0)
    assert ours.receive(theirs.association.data_to_send()) == [AReleaseRP()]
