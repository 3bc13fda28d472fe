"""One association of the DICOM Upper Layer: bytes and primitives in, bytes and events out (PS3.8 chapters 7 to 9).

Why so: the shell that owns the socket only moves bytes, waits and tells the time; what the protocol decides is decided
here, for both roles, and can be tested without either. Indication and confirmation primitives are the received PDUs
themselves (`AAssociateRQ` is the A-ASSOCIATE indication); a P-DATA indication is a `PdvFragment`.

Use: `receive_data`, then `next_event` until None; after every call send `data_to_send()`, then look at `closing`; call
`handle_timer` when `next_timer` is due. Times are seconds of one monotonic clock.
"""

from __future__ import annotations

from enum import Enum, auto

from dicom_adapter.dicom import negotiation
from dicom_adapter.dicom.errors import RemoteProtocolError
from dicom_adapter.dicom.pdu import (
    AAbort,
    AAssociateAC,
    AAssociateRJ,
    AAssociateRQ,
    AbortReason,
    AbortSource,
    AReleaseRP,
    AReleaseRQ,
    DecodedEvent,
    PDataTFStart,
    Pdu,
    PdvFragment,
)
from dicom_adapter.dicom.pdu_decoder import PduDecoder
from dicom_adapter.dicom.pdu_encoder import encode
from dicom_adapter.dicom.state_machine import ACTIONS, TABLE, Effect, Event, State, transition

UpperLayerEvent = AAssociateRQ | AAssociateAC | AAssociateRJ | PdvFragment | AReleaseRQ | AReleaseRP | AAbort

_RECEIVED: dict[type, Event] = {
    AAssociateAC: Event.EVT3,
    AAssociateRJ: Event.EVT4,
    AAssociateRQ: Event.EVT6,
    PDataTFStart: Event.EVT10,
    AReleaseRQ: Event.EVT12,
    AReleaseRP: Event.EVT13,
    AAbort: Event.EVT16,
}


def _states(event: Event, effect: Effect) -> frozenset[State]:
    """Where an event has this one effect and changes no state: read from the table once, for the hot path."""
    return frozenset(
        state
        for state, action in zip(State, TABLE[event], strict=True)
        if action is not None and ACTIONS[action] == ((effect,), state)
    )


_DELIVERING = _states(Event.EVT10, Effect.INDICATE)  # DT-2, AR-6: P-DATA-TF goes to the user
_SENDING = _states(Event.EVT9, Effect.SEND_PDU)  # DT-1, AR-7: P-DATA may be sent


class Role(Enum):
    """Who asked for the association."""

    REQUESTOR = auto()
    ACCEPTOR = auto()


class Association:
    """The state of one association. `max_pdu_length`: what we announce, bytes; `artim`: seconds (PS3.8 9.1.5)."""

    def __init__(self, role: Role, *, max_pdu_length: int, artim: float) -> None:
        self.role = role
        self.state = State.STA1
        self.closing = False  # the transport connection is to be closed now
        self.rejected: AAssociateRJ | None = None  # what we answered to a request that no policy could have accepted
        self.rejected_request: AAssociateRQ | None = None
        self._artim = artim
        self._deadline: float | None = None  # of ARTIM; None while it does not run
        self._decoder = PduDecoder(max_pdu_length)
        self.bypassed = self._decoder.bypassed  # the shell moved bytes past us
        self._broken = False  # PDU boundaries are lost: nothing that follows can be read
        self._delivers = True  # fragments go to the user (DT-2, AR-6); False after a P-DATA-TF that may not (AA-6)
        self._out: list[bytes] = []
        self._now = 0.0

    # --- transport connection -------------------------------------------------------------------------------------

    def transport_connected(self, now: float) -> None:
        """Acceptor: a connection came in (Evt5)."""
        self._now = now
        self._apply(Event.EVT5)

    def transport_closed(self) -> bool:
        """The connection is gone (Evt17). True: that was an A-P-ABORT for the user; False: it was due."""
        if self.state is State.STA1:
            return False
        return Effect.INDICATE_PROVIDER_ABORT in self._apply(Event.EVT17)

    def receive_data(self, data: memoryview, now: float) -> None:
        """Bytes came. They are borrowed until `next_event` returns None."""
        self._now = now
        if not self._broken:
            self._decoder.receive_data(data)

    def data_to_send(self) -> bytes:
        """Everything that is to be sent now; b"" for nothing."""
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out.clear()
        return data

    @property
    def pdus_received(self) -> int:
        """How many PDUs arrived whole."""
        return self._decoder.pdus_completed

    @property
    def receiving_pdu_length(self) -> int:
        """Length of the PDU that is arriving; 0 between two."""
        return self._decoder.pdu_length

    # --- time -----------------------------------------------------------------------------------------------------

    @property
    def next_timer(self) -> float | None:
        """When ARTIM expires; received bytes never move it."""
        return self._deadline

    def handle_timer(self, now: float) -> bool:
        """Tell the time. True: ARTIM expired (Evt18), and the connection is to be closed."""
        if self._deadline is None or now < self._deadline:
            return False
        self._apply(Event.EVT18)
        return True

    # --- received PDUs --------------------------------------------------------------------------------------------

    def next_event(self) -> UpperLayerEvent | None:
        """The next indication or confirmation primitive; None: more bytes are needed.

        Raises RemoteProtocolError for what the peer may not send; its A-ABORT is then in `data_to_send`.
        """
        while not self._broken and self.state is not State.STA1:
            try:
                decoded = self._decoder.next_event()
            except RemoteProtocolError as error:
                self._broken = True
                if self._failed(Event.EVT19, error):
                    raise
                return None
            if isinstance(decoded, PdvFragment):
                if self._delivers:
                    return decoded
            elif decoded is None:
                return None
            elif (event := self._received(decoded)) is not None:
                return event
        return None

    def _received(self, pdu: DecodedEvent) -> UpperLayerEvent | None:
        """Run a received PDU through Table 9-10; what it indicates to the user, if anything."""
        if isinstance(pdu, PDataTFStart):
            self._delivers = False
        if isinstance(pdu, AAssociateRQ):
            self.rejected, self.rejected_request = negotiation.rejection(pdu), pdu
        else:
            self.rejected = self.rejected_request = None
        state = self.state
        effects = self._apply(_RECEIVED[type(pdu)], acceptable=self.rejected is None)
        if Effect.INDICATE in effects and not isinstance(pdu, PDataTFStart):
            return pdu
        if Effect.SEND_ABORT in effects or Effect.SEND_PROVIDER_ABORT in effects:
            name = "P-DATA-TF" if isinstance(pdu, PDataTFStart) else type(pdu).__name__
            error = _unexpected(name, state, user=Effect.SEND_ABORT in effects)
            if state is not State.STA13:
                raise error
        return None

    def _failed(self, event: Event, error: RemoteProtocolError) -> bool:
        """Answer a malformed PDU. False when it came after the end, and so concerns nobody."""
        state = self.state
        effects = self._apply(event, reason=error.abort_reason)
        if Effect.SEND_ABORT in effects:  # AA-1 and AA-7 abort as the service user: PS3.8 Table 9-9
            error.abort_source, error.abort_reason = AbortSource.SERVICE_USER, AbortReason.REASON_NOT_SPECIFIED
        return state is not State.STA13

    # --- request and response primitives --------------------------------------------------------------------------

    def request(self, rq: AAssociateRQ) -> None:
        """Requestor: A-ASSOCIATE request over a connection that is open already (Evt1, then Evt2)."""
        self._apply(Event.EVT1)
        self._apply(Event.EVT2, rq)

    def accept(self, ac: AAssociateAC) -> None:
        """Acceptor: A-ASSOCIATE response, accepted (Evt7)."""
        self._apply(Event.EVT7, ac)

    def reject(self, rj: AAssociateRJ, now: float) -> None:
        """Acceptor: A-ASSOCIATE response, rejected (Evt8)."""
        self._now = now
        self._apply(Event.EVT8, rj)

    def send_data(self) -> None:
        """P-DATA request (Evt9): checks that it may be sent now; the shell sends header and bytes itself."""
        if self.state not in _SENDING:
            self._apply(Event.EVT9)

    def release(self) -> None:
        """A-RELEASE request (Evt11)."""
        self._apply(Event.EVT11, AReleaseRQ())

    def confirm_release(self, now: float) -> None:
        """A-RELEASE response (Evt14)."""
        self._now = now
        self._apply(Event.EVT14, AReleaseRP())

    def abort(self, now: float) -> None:
        """A-ABORT request (Evt15)."""
        self._now = now
        self._apply(Event.EVT15)

    def provider_abort(self, reason: AbortReason, now: float) -> None:
        """A-ABORT by the service provider for PDVs whose place or context is wrong, as AA-8 for an invalid PDU."""
        self._now = now
        self._broken = True
        self._apply(Event.EVT19, reason=reason)

    # --- Table 9-10 -----------------------------------------------------------------------------------------------

    def _apply(
        self,
        event: Event,
        pdu: Pdu | None = None,
        *,
        acceptable: bool = True,
        reason: AbortReason = AbortReason.UNEXPECTED_PDU,
    ) -> tuple[Effect, ...]:
        effects, self.state = transition(
            self.state, event, requestor=self.role is Role.REQUESTOR, acceptable=acceptable
        )
        self._decoder.announces_p_data = self.state not in _DELIVERING
        for effect in effects:
            if effect is Effect.SEND_PDU:
                if pdu is not None:
                    self._out.append(encode(pdu))
            elif effect is Effect.START_ARTIM:
                self._deadline = self._now + self._artim
            elif effect is Effect.STOP_ARTIM:
                self._deadline = None
            elif effect is Effect.CLOSE_TRANSPORT:
                self.closing = True
            elif effect is Effect.SEND_ABORT:
                self._out.append(encode(AAbort()))
            elif effect is Effect.SEND_PROVIDER_ABORT:
                self._out.append(encode(AAbort(AbortSource.SERVICE_PROVIDER, reason)))
            elif effect is Effect.SEND_REJECT and self.rejected is not None:
                self._out.append(encode(self.rejected))
        return effects


def _unexpected(name: str, state: State, *, user: bool) -> RemoteProtocolError:
    message = f"{name} PDU is not allowed in {state} (PS3.8 Table 9-10)"
    if user:
        return RemoteProtocolError(message, AbortReason.REASON_NOT_SPECIFIED, AbortSource.SERVICE_USER)
    return RemoteProtocolError(message, AbortReason.UNEXPECTED_PDU)
