"""One association over one socket, driven by one thread: the blocking shell around `dicom.upper_layer`, both roles.

Why blocking: one thread per association waits where it works, which is back-pressure for free, and the receive, write
and splice calls give up the GIL. Everything that the protocol decides is decided in the pure core; here are only bytes,
limits in time and the end of things.

SECURITY: memory per association is one receive buffer, made at the first byte, whatever the peer sends.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn, Protocol, Self

from dicom_adapter.dicom import dimse, negotiation
from dicom_adapter.dicom.command_set import CommandSet, CommandWriter
from dicom_adapter.dicom.errors import LocalProtocolError, RemoteProtocolError
from dicom_adapter.dicom.pdu import (
    DEFAULT_MAX_PDU_LENGTH,
    AAbort,
    AAssociateAC,
    AAssociateRJ,
    AAssociateRQ,
    AbortReason,
    AbortSource,
    AcceptedContext,
    AReleaseRP,
    AReleaseRQ,
    PdvFragment,
)
from dicom_adapter.dicom.pdu_encoder import p_data_header
from dicom_adapter.dicom.state_machine import State
from dicom_adapter.dicom.upper_layer import Association, Role, UpperLayerEvent
from dicom_adapter.net.errors import AssociationEnded, AssociationRejected, ConnectFailed
from dicom_adapter.net.pdu_log import PduLog, PduTrace
from dicom_adapter.net.transport import Transport, connect, peer_address

__all__ = [
    "AssociationEnded",
    "AssociationRejected",
    "ConnectFailed",
    "Connection",
    "DataSetSink",
    "Nowhere",
    "PduLog",
    "Timeouts",
]

BUFFER_SIZE = 64 * 1024  # bytes of one receive
SPLICE_FROM = 32 * 1024  # bytes ahead from which splice is cheaper than receive and write
LARGE_DATA_SET = 256 * 1024  # bytes
BUFFER_SIZE_BEFORE_LARGE = 8 * 1024  # enough for the command and the head of the data set, which is looked at
HEADERS_LENGTH = 12  # bytes of a P-DATA-TF header and its first PDV header
MIN_RATE = 16 * 1024  # bytes a second that a PDU in progress has to keep up, beyond the inactivity limit
MAX_TICK = 1.0  # seconds
MIN_TICK = 0.01  # seconds; 0 would be no limit at all for SO_RCVTIMEO


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits in seconds, on the monotonic clock."""

    artim: float = 30.0  # for the A-ASSOCIATE-RQ, and for the peer to close in the end; bytes do not restart it
    idle: float = 60.0  # acceptor: for each complete PDU
    response: float = 60.0  # requestor: the same, while it waits for a response
    write: float = 60.0  # for the peer to take a PDU
    connect: float = 10.0
    keep_alive: float = 60.0  # of silence before TCP asks whether the peer is still there

    @property
    def tick(self) -> float:
        """How often a blocked call looks at its deadline: often enough for the shortest of them."""
        shortest = min(self.artim, self.idle, self.response, self.write)
        return max(MIN_TICK, min(MAX_TICK, shortest / 4))


class DataSetSink(Protocol):
    """Takes the bytes of one data set. Its methods never raise: a failure is kept, and answered by the response."""

    def write(self, fragment: memoryview) -> None:
        """The next bytes; valid only during the call."""

    def splice_fd(self) -> int | None:
        """Not None: from here on bytes may be moved straight into this file, at its position. None after `failed`."""

    def spliced(self, count: int) -> None:
        """That many bytes were moved into the file."""

    def failed(self, error: OSError) -> None:
        """The file did not take the bytes: some are lost, and the rest of the data set comes through `write`."""


class Nowhere:
    """A DataSetSink for a data set that nobody wants."""

    def write(self, fragment: memoryview) -> None:
        pass

    def splice_fd(self) -> int | None:
        return None

    def spliced(self, count: int) -> None:
        pass

    def failed(self, error: OSError) -> None:
        pass


class Connection:
    """An association and its socket. Every method but `wake` belongs to one thread; all raise AssociationEnded."""

    def __init__(
        self, sock: socket.socket, role: Role, *, max_pdu_length: int, timeouts: Timeouts, pdu_log: PduLog | None
    ) -> None:
        self.contexts: Mapping[int, AcceptedContext] = {}
        self.peer_max_pdu_length = DEFAULT_MAX_PDU_LENGTH
        self.peer_host, self.peer_port = "", 0
        self._timeouts = timeouts
        self._idle = timeouts.idle if role is Role.ACCEPTOR else timeouts.response
        self._association = Association(role, max_pdu_length=max_pdu_length, artim=timeouts.artim)
        self._messages = dimse.MessageReceiver(())
        self._encode = CommandWriter().write
        self._request: AAssociateRQ | None = None
        self._buffer = memoryview(b"")  # made when there is something to receive
        self._receive_size = BUFFER_SIZE  # adapted to the data sets that come
        self._arrived = 0  # bytes of the data set that is arriving
        self._expected = 0  # bytes of the last one: slices of a series have one length, nearly always
        self._splicing = False
        self._pdv_length = 0  # of its last PDV, about
        self._starved = False  # the association can give no event before it gets more bytes
        self._ahead = 0  # bytes of the stream that are of the current data-set PDV
        self._progress_at = time.monotonic()  # since when we wait for the PDU that is due
        self._look_at = self._progress_at  # when to look at the time although bytes come
        self._pdus_received = 0
        self._log = PduTrace(pdu_log) if pdu_log else None
        self._woken = False
        self._closed = False
        try:
            self.peer_host, self.peer_port = peer_address(sock)
            self._transport = Transport(sock, tick=timeouts.tick, keep_alive=timeouts.keep_alive)
        except OSError as error:  # gone before we looked
            sock.close()
            raise AssociationEnded(f"the peer closed the connection at once ({error.strerror})", by_peer=True) from None

    # --- acceptor -------------------------------------------------------------------------------------------------

    @classmethod
    def accept(
        cls, sock: socket.socket, *, max_pdu_length: int, timeouts: Timeouts, pdu_log: PduLog | None = None
    ) -> Self:
        """Serve a connection that a listener accepted. The socket is the connection's from now on."""
        connection = cls(sock, Role.ACCEPTOR, max_pdu_length=max_pdu_length, timeouts=timeouts, pdu_log=pdu_log)
        connection._association.transport_connected(time.monotonic())
        return connection

    def receive_request(self) -> AAssociateRQ:
        """The A-ASSOCIATE-RQ, within ARTIM. Raises AssociationRejected for one that no policy could accept."""
        event = self._next_event()
        if not isinstance(event, AAssociateRQ):
            raise _unreachable(event)
        self._request = event
        self.peer_max_pdu_length = event.user_information.max_pdu_length
        return event

    def accept_association(self, ac: AAssociateAC) -> None:
        """Answer the request; from here on commands may come."""
        if self._request is None:
            raise LocalProtocolError("there is no A-ASSOCIATE-RQ to accept")
        self._association.accept(ac)
        self._establish(self._request, ac)
        self._flush()

    def reject_association(self, rj: AAssociateRJ) -> None:
        """Answer the request, and close when the peer did or ARTIM expired."""
        self._association.reject(rj, time.monotonic())
        self._flush()
        self.close()

    # --- requestor ------------------------------------------------------------------------------------------------

    @classmethod
    def request(
        cls,
        host: str,
        port: int,
        rq: AAssociateRQ,
        *,
        max_pdu_length: int,
        timeouts: Timeouts,
        pdu_log: PduLog | None = None,
    ) -> Self:
        """Open an association; returns when it is established.

        Raises ConnectFailed, AssociationRejected, or AssociationEnded when the peer aborts or does not answer.
        """
        sock = connect(host, port, timeouts.connect)
        connection = cls(sock, Role.REQUESTOR, max_pdu_length=max_pdu_length, timeouts=timeouts, pdu_log=pdu_log)
        try:
            connection._negotiate(rq)
        except BaseException:
            connection.close()
            raise
        return connection

    def _negotiate(self, rq: AAssociateRQ) -> None:
        self._idle, response = self._timeouts.artim, self._idle
        self._association.request(rq)
        self._flush()
        event = self._next_event()
        if isinstance(event, AAssociateRJ):
            raise AssociationRejected(f"the peer rejected the association: {event}", event, by_peer=True)
        if not isinstance(event, AAssociateAC):
            raise _unreachable(event)
        self.peer_max_pdu_length = event.user_information.max_pdu_length
        try:
            self._establish(rq, event)
        except RemoteProtocolError as error:
            self._abort_for(error)
        self._idle = response

    def release(self) -> None:
        """Requestor: release in order; returns when the peer confirmed."""
        self._association.release()
        self._flush()
        self._progress_at = time.monotonic()
        self._idle = self._timeouts.artim
        while not isinstance(event := self._next_event(), AReleaseRP):
            if isinstance(event, AReleaseRQ) and self._association.role is Role.REQUESTOR:  # collision, PS3.8 7.2.2.7
                self.confirm_release()
        if self._association.state is State.STA12:  # the acceptor's side of a collision answers last
            self.confirm_release()

    # --- both -----------------------------------------------------------------------------------------------------

    def receive_command(self) -> tuple[int, CommandSet] | None:
        """The next command and its context; a data set that nobody took is dropped first.

        None: the peer asks to release. Make the outcome durable, then `confirm_release`.
        """
        if self._messages.expects_data_set:
            self.receive_data_set(Nowhere())
        self._progress_at = time.monotonic()
        while True:
            event = self._next_event()
            if isinstance(event, PdvFragment):
                try:
                    command = self._messages.receive(event)
                except RemoteProtocolError as error:
                    self._abort_for(error)
                if command is not None:
                    return command
            elif isinstance(event, AReleaseRQ) and self._messages.between_messages:
                return None
            else:
                self._abort_for(_truncated())

    def receive_data_set(self, sink: DataSetSink) -> None:
        """The data set of the command just received; returns after its last fragment."""
        self._progress_at = time.monotonic()
        self._arrived = self._pdv_length = 0
        self._splicing = False
        messages = self._messages
        try:
            while messages.expects_data_set:
                event = self._next_event(sink)
                if not isinstance(event, PdvFragment):
                    raise _truncated()
                messages.receive(event)
                _, _, _, data, remaining = event
                if data:
                    sink.write(data)
                    self._arrived += len(data)
                    self._pdv_length = len(data) + remaining
        except RemoteProtocolError as error:
            self._abort_for(error)
        # A large data set is spliced: then do not receive much of the next one together with its command.
        self._expected = self._arrived
        self._receive_size = BUFFER_SIZE_BEFORE_LARGE if self._arrived >= LARGE_DATA_SET else BUFFER_SIZE

    def send_command(self, context_id: int, command: CommandSet) -> None:
        """Send a command; with `has_data_set`, `send_data_set` has to follow."""
        self._association.send_data()
        pdus = dimse.command_pdus(context_id, command, self.peer_max_pdu_length, self._encode)
        if self._log:
            self._log.sent(context_id, is_command=True, is_last=True, length=len(pdus) - HEADERS_LENGTH)
        self._send(pdus, more=command.has_data_set)
        self._progress_at = time.monotonic()

    def send_data_set(self, context_id: int, fd: int, offset: int, length: int) -> None:
        """Send `length` bytes of the file from `offset` as one data set, in PDUs of the peer's size.

        An odd length, which a deflated data set may have, is padded with one NUL (PS3.5 A.5; PS3.8 Annex F).
        """
        padded = length + length % 2
        for start, count in dimse.fragments(padded, self.peer_max_pdu_length):
            is_last = start + count == padded
            self._association.send_data()
            if self._log:
                self._log.sent(context_id, is_command=False, is_last=is_last, length=count)
            header = p_data_header(context_id, is_command=False, is_last=is_last, length=count)
            self._send(header, more=count > 0)
            self._send_file(fd, offset + start, min(count, length - start))
        if padded != length:
            self._send(b"\0", more=False)
        self._progress_at = time.monotonic()

    def confirm_release(self) -> None:
        """Answer the peer's A-RELEASE-RQ."""
        self._association.confirm_release(time.monotonic())
        self._flush()

    def abort(self) -> None:
        """A-ABORT as the service user. Never raises; `close` comes next."""
        if self._association.state not in (State.STA1, State.STA2, State.STA13):
            self._association.abort(time.monotonic())
            with contextlib.suppress(AssociationEnded):
                self._flush()
            self._transport.stop_sending()

    def close(self) -> None:
        """Close the socket: abort what is still open, and give the peer until ARTIM to close first. Idempotent."""
        if self._closed:
            return
        self.abort()
        try:
            if self._association.state is State.STA13:
                self._await_close()
        finally:
            self._closed = True
            self._transport.close()

    def wake(self) -> None:
        """From any thread: end by A-ABORT. What waits in this connection raises AssociationEnded soon."""
        self._woken = True
        self._transport.stop_receiving()

    # --- receiving ------------------------------------------------------------------------------------------------

    def _next_event(self, sink: DataSetSink | None = None) -> UpperLayerEvent:
        """Wait for the next event. With a sink, data-set bytes ahead may go into its file on the way."""
        association = self._association
        while True:
            if self._starved:
                if sink is None or not self._splice(sink):
                    self._receive()
                continue
            try:
                event = association.next_event()
            except RemoteProtocolError as error:
                self._end_for(error)
            if isinstance(event, PdvFragment):
                remaining = event.remaining
                if remaining:  # it has all the bytes that there were
                    self._starved = True
                    self._ahead = 0 if event.is_command else remaining
                if self._log:
                    self._log.received(event, association.receiving_pdu_length)
                return event
            if event is None:
                if association.rejected:
                    self._flush()
                    self._transport.stop_sending()
                    rj = association.rejected
                    rq = association.rejected_request
                    raise AssociationRejected(f"we rejected the association: {rj}", rj, by_peer=False, rq=rq)
                self._starved = True
            elif isinstance(event, AAbort):
                self._aborted(event)
            else:
                return event

    def _receive(self, size: int | None = None) -> None:
        """Wait for bytes, and hand them to the association."""
        if not self._buffer:
            self._buffer = memoryview(bytearray(BUFFER_SIZE))
        buffer = self._buffer[: size or self._receive_size]
        while True:
            try:
                count = self._transport.receive_into(buffer)
            except BlockingIOError:
                self._check_time(time.monotonic())
                continue
            except OSError as error:
                self._lost(str(error))
            if not count:
                self._lost("end of stream")
            now = time.monotonic()
            self._association.receive_data(buffer[:count], now)
            self._starved = False
            self._ahead = 0
            if now > self._look_at:
                self._check_time(now)
            return

    def _splice(self, sink: DataSetSink) -> bool:
        """Move data-set bytes ahead into the sink's file. False: receive them instead."""
        ahead = self._ahead
        if self._log:  # it wants to see every fragment
            return False
        if not ahead:
            # Between two PDVs of a data set that is spliced: take the headers only, and splice what follows them. Where
            # too little will follow, as at the end of nearly every slice, take that as well.
            if self._splicing and self._pdv_length >= SPLICE_FROM:
                rest = self._expected - self._arrived
                self._receive(HEADERS_LENGTH + (rest if 0 < rest < SPLICE_FROM else 0))
                return True
            return False
        if ahead < SPLICE_FROM:
            return False
        fd = sink.splice_fd()
        if fd is None:
            return False
        try:
            spliced = self._transport.splice(fd, ahead)
        except BlockingIOError:
            self._check_time(time.monotonic())
            return True
        except OSError as broken:
            self._lost(str(broken))
        if spliced is None:
            return False
        taken, written, error = spliced
        if not taken:
            self._lost("end of stream")
        self._starved = not self._association.bypassed(taken)
        self._ahead = ahead - taken
        self._arrived += taken
        self._splicing = True
        self._pdv_length = ahead
        if written:
            sink.spliced(written)
        if error is not None:
            sink.failed(error)
        if taken < ahead:
            self._check_time(time.monotonic())
        return True

    # --- sending --------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        if data := self._association.data_to_send():
            self._send(data)

    def _send(self, data: bytes, *, more: bool = False) -> None:
        send = self._transport.send
        self._push(len(data), lambda done: send(memoryview(data)[done:] if done else data, more=more))

    def _send_file(self, fd: int, offset: int, length: int) -> None:
        self._push(length, lambda done: self._transport.send_file(fd, offset + done, length - done))

    def _push(self, length: int, step: Callable[[int], int]) -> None:
        """Call `step(done)` until all is taken. What stops half way leaves half a PDU: the stream is of no more use."""
        done = 0
        deadline = 0.0
        while done < length:
            try:
                count = step(done)
            except BlockingIOError:  # a tick passed
                now = time.monotonic()
                deadline = deadline or now + self._timeouts.write - self._timeouts.tick
                if self._woken:
                    self._give_up("we stopped while the peer took no data", by_peer=False)
                if now > deadline:
                    self._give_up(f"the peer took no data for {self._timeouts.write:g} s", by_peer=True)
                continue
            except OSError as error:
                self._send_failed(error)
            if not count:
                self._give_up("the file is shorter than its data set was", by_peer=False)
            done += count

    def _send_failed(self, error: OSError) -> NoReturn:
        """The peer closed. It may have said why before that: look for its A-ABORT in what was not read yet."""
        association = self._association
        buffer = self._buffer or memoryview(bytearray(BUFFER_SIZE))
        with contextlib.suppress(OSError, RemoteProtocolError):
            while True:
                while (event := association.next_event()) is not None:
                    if isinstance(event, AAbort):
                        self._aborted(event)
                if not (count := self._transport.receive_waiting(buffer)):
                    break
                association.receive_data(buffer[:count], time.monotonic())
        self._lost(str(error))

    # --- ends -----------------------------------------------------------------------------------------------------

    def _check_time(self, now: float) -> None:
        """End when ARTIM expired, or the limit for the PDU that is due: its bytes do not extend it, its length does.

        Called after each tick without bytes, and after a tick with them: bytes that trickle are no progress.
        """
        association = self._association
        self._look_at = now + self._timeouts.tick
        if self._woken:
            self.abort()
            raise AssociationEnded("we ended the association: stopping", by_peer=False, abort_source=0, abort_reason=0)
        if association.next_timer is not None:
            if association.handle_timer(now):
                raise AssociationEnded(f"no A-ASSOCIATE-RQ within {self._timeouts.artim:g} s (ARTIM)", by_peer=True)
        elif association.pdus_received != self._pdus_received and self._pdus_are_progress:
            self._pdus_received = association.pdus_received
            self._progress_at = now
        elif now > self._progress_at + self._idle + association.receiving_pdu_length / MIN_RATE:
            association.provider_abort(AbortReason.REASON_NOT_SPECIFIED, now)
            self._end(
                f"no {'complete PDU' if self._pdus_are_progress else 'answer'} from the peer for {self._idle:g} s",
                AbortSource.SERVICE_PROVIDER,
                AbortReason.REASON_NOT_SPECIFIED,
            )

    @property
    def _pdus_are_progress(self) -> bool:
        """What a requestor waits for is an answer: a peer could send empty P-DATA-TF in its place for ever."""
        return self._association.role is Role.ACCEPTOR or self._messages.expects_data_set

    def _abort_for(self, error: RemoteProtocolError) -> NoReturn:
        """Answer what the Upper Layer let through but DIMSE or negotiation does not allow."""
        if error.abort_source is AbortSource.SERVICE_USER:
            self._association.abort(time.monotonic())
        else:
            self._association.provider_abort(error.abort_reason, time.monotonic())
        self._end_for(error)

    def _end_for(self, error: RemoteProtocolError) -> NoReturn:
        self._end(f"the peer broke the protocol: {error}", error.abort_source, error.abort_reason)

    def _end(self, words: str, source: AbortSource, reason: AbortReason) -> NoReturn:
        """Send the A-ABORT that is due, and raise."""
        with contextlib.suppress(AssociationEnded):
            self._flush()
        self._transport.stop_sending()
        answer = AAbort(source, reason)
        raise AssociationEnded(
            f"{words}; answered by A-ABORT ({answer})", by_peer=True, abort_source=source, abort_reason=reason
        )

    def _aborted(self, abort: AAbort) -> NoReturn:
        raise AssociationEnded(
            f"the peer aborted the association: {abort}",
            by_peer=True,
            abort_source=abort.source,
            abort_reason=abort.reason,
        )

    def _lost(self, why: str) -> NoReturn:
        if self._woken:
            self._check_time(time.monotonic())
        waiting = self._association.state is State.STA2
        self._give_up(f"the connection was lost {'before an A-ASSOCIATE-RQ ' if waiting else ''}({why})", by_peer=True)

    def _give_up(self, words: str, *, by_peer: bool) -> NoReturn:
        """Nothing can be sent any more, not even an A-ABORT."""
        self._association.transport_closed()
        raise AssociationEnded(words, by_peer=by_peer)

    def _await_close(self) -> None:
        """After the last PDU of an association: drop what comes until the peer closes or ARTIM expires."""
        association = self._association
        if not self._buffer:
            self._buffer = memoryview(bytearray(BUFFER_SIZE))
        while not association.closing:
            with contextlib.suppress(RemoteProtocolError):
                while association.next_event() is not None:
                    pass
            with contextlib.suppress(AssociationEnded):
                self._flush()
            count: int | None = None
            try:
                count = self._transport.receive_into(self._buffer)
            except BlockingIOError:  # a tick passed
                pass
            except OSError:  # reset, or the peer has vanished
                count = 0
            now = time.monotonic()
            if count == 0 or self._woken:
                association.transport_closed()
                return
            if not association.handle_timer(now) and count:
                association.receive_data(self._buffer[:count], now)

    def _establish(self, rq: AAssociateRQ, ac: AAssociateAC) -> None:
        self.contexts = negotiation.accepted_contexts(rq, ac.presentation_contexts)
        self._messages = dimse.MessageReceiver(self.contexts.keys())


def _truncated() -> RemoteProtocolError:
    return RemoteProtocolError("A-RELEASE-RQ inside a message (PS3.8 7.2)", AbortReason.UNEXPECTED_PDU)


def _unreachable(event: object) -> LocalProtocolError:
    return LocalProtocolError(f"{type(event).__name__} cannot come here (PS3.8 Table 9-10)")
