"""The door: accepts connections, gives each a thread, and admits associations to the places there are.

Why here: limits are about all associations together. A connection without an association yet holds no place, so silent
ones cannot lock scanners out (promise, 14); they are limited apart, the oldest one dropped first.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from dicom_adapter.core.admission import Accept, Reject, decide, is_address
from dicom_adapter.core.errors import PermanentError
from dicom_adapter.core.model import AssociationRecord
from dicom_adapter.core.snapshot import ConfigSnapshot, ScpPolicy
from dicom_adapter.dicom.pdu import AAssociateRQ
from dicom_adapter.identifiers import new_id
from dicom_adapter.net.connection import AssociationEnded, Connection, Timeouts
from dicom_adapter.scp.association import AssociationEnvironment, serve
from dicom_adapter.scp.host_names import HostNames
from dicom_adapter.scp.live import OpenAssociation, Places
from dicom_adapter.scp.storage import StorageEnvironment

log = structlog.get_logger("scp")

BACKLOG = 128
DEFAULT_TIMEOUTS = Timeouts()
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
EXHAUSTED_PAUSE = 1.0  # seconds; a connection that ends wakes us earlier
ABORT_PATIENCE = 5.0  # seconds for threads to end after their association was aborted


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """Where and how to listen. `bind`: "all" (IPv4 and IPv6) or an address; `port`: 0 for any free one."""

    port: int
    bind: str = "all"
    max_pdu_length: int = 262_144  # bytes
    max_pending_connections: int = 128
    timeouts: Timeouts = DEFAULT_TIMEOUTS


class Listener:
    """The SCP as a whole.

    `snapshot`: gives the configuration in force; asked for each association. `on_closed`: told the id of each
    association that ended, from its thread: a hint. Methods may be called from any thread.
    """

    def __init__(
        self,
        settings: ListenerSettings,
        storage: StorageEnvironment,
        snapshot: Callable[[], ConfigSnapshot],
        on_closed: Callable[[str], None] = lambda association_id: None,
        host_names: HostNames | None = None,
    ) -> None:
        self._settings = settings
        self._snapshot = snapshot
        self._storage = storage
        self._host_names = host_names or HostNames()
        self._places = Places()
        self._environment = AssociationEnvironment(
            self._admit, self._places, storage, settings.max_pdu_length, on_closed
        )
        self.port = settings.port  # after `start`, the one that it listens on
        self._sockets: list[socket.socket] = []
        self._wake_reader, self._wake_writer = -1, -1
        self._accepting: threading.Thread | None = None
        self._ended = threading.Condition()
        self._threads: set[threading.Thread] = set()
        self._connections: dict[Connection, bool] = {}  # in order of arrival; True: it may be dropped

    # --- what it is doing -------------------------------------------------------------------------------------------

    @property
    def listening(self) -> bool:
        """Whether new connections are accepted."""
        return self._accepting is not None and self._accepting.is_alive()

    def open_associations(self) -> list[OpenAssociation]:
        """What is open now, oldest first."""
        return self._places.open_associations()

    def is_open_to(self, ae_title: str) -> bool:
        """Whether an association to this Clara AE Title is open. Once it is not, its end is durable."""
        return self._places.is_open_to(ae_title)

    def counters(self) -> dict[str, int]:
        """Everything counted since the start: associations by outcome and rejection, instances, bytes, failures."""
        return dict(self._places.counters())

    # --- start and stop ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen. Raises PermanentError, in words, when the port or address cannot be had."""
        self._sockets = _listening_sockets(self._settings.bind, self._settings.port)
        self.port = int(self._sockets[0].getsockname()[1])
        self._wake_reader, self._wake_writer = os.pipe()
        self._accepting = threading.Thread(target=self._accept_all, name="scp listener", daemon=True)
        self._accepting.start()
        log.info("listening for associations", port=self.port, bind=self._settings.bind)

    def stop(self, grace: float) -> None:
        """No new connections; open associations may finish within `grace` seconds, then they are aborted.

        Returns when every thread has ended. May be called again, to grant less.
        """
        self._close_door()
        if self._places.open_associations():
            log.info("waiting for open associations", associations=len(self._places), seconds=grace)
        self._wait_for_end(grace)
        with self._ended:
            remaining = list(self._connections)
        for connection in remaining:
            connection.wake()
        if not self._wait_for_end(ABORT_PATIENCE):
            log.warning("some associations did not end; their instances are taken up at the next start")

    def _close_door(self) -> None:
        accepting, self._accepting = self._accepting, None
        if accepting is None:
            return
        os.write(self._wake_writer, b"x")
        accepting.join()
        os.close(self._wake_reader)
        os.close(self._wake_writer)
        for listening in self._sockets:
            listening.close()
        with self._ended:
            pending = self._pending()
        for connection in pending:
            connection.wake()

    def _pending(self) -> list[Connection]:
        """Connections without an association, oldest first: silent ones, and rejected ones until the peer closes."""
        return [connection for connection, pending in self._connections.items() if pending]

    def _wait_for_end(self, patience: float) -> bool:
        with self._ended:
            return self._ended.wait_for(lambda: not self._threads, timeout=patience)

    # --- accepting connections --------------------------------------------------------------------------------------

    def _accept_all(self) -> None:
        poll = select.poll()
        poll.register(self._wake_reader, select.POLLIN)
        for listening in self._sockets:
            poll.register(listening, select.POLLIN)
        by_descriptor = {listening.fileno(): listening for listening in self._sockets}
        exhausted = False
        while True:
            ready = [descriptor for descriptor, _ in poll.poll()]
            if self._wake_reader in ready:
                return
            for descriptor in ready:
                try:
                    sock, _ = by_descriptor[descriptor].accept()
                except BlockingIOError:
                    continue  # another accepted it, or the peer went away
                except OSError as error:
                    if error.errno in EXHAUSTED:
                        if not exhausted:
                            log.error("no new connections for now: raise the limit of open files", why=error.strerror)
                        exhausted = True
                        self._pause()
                    continue
                if exhausted:
                    log.info("new connections are accepted again")
                    exhausted = False
                self._serve(sock)

    def _pause(self) -> None:
        """Let a connection end, or some time pass, before accepting again: no spin."""
        with self._ended:
            self._ended.wait(EXHAUSTED_PAUSE)

    def _serve(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        try:
            connection = Connection.accept(
                sock, max_pdu_length=self._settings.max_pdu_length, timeouts=self._settings.timeouts
            )
        except AssociationEnded as ended:
            log.debug("connection ended at once", why=str(ended))
            return
        thread = threading.Thread(target=self._run, args=(connection,), name="association", daemon=True)
        with self._ended:
            self._threads.add(thread)
            self._connections[connection] = True
            pending = self._pending()
            if len(pending) > self._settings.max_pending_connections:
                self._connections[pending[0]] = False  # it is gone already, though its thread may not know yet
                self._places.count("connections_dropped")
                pending[0].wake()
        try:
            thread.start()
        except RuntimeError:  # the system has no thread left
            log.exception("a connection could not be served")
            connection.close()
            self._forget(connection, thread)

    def _run(self, connection: Connection) -> None:
        try:
            serve(connection, self._environment)
        finally:
            self._forget(connection, threading.current_thread())

    def _forget(self, connection: Connection, thread: threading.Thread) -> None:
        with self._ended:
            self._connections.pop(connection, None)
            self._threads.discard(thread)
            self._ended.notify_all()

    # --- admitting associations -------------------------------------------------------------------------------------

    def _admit(self, rq: AAssociateRQ, connection: Connection) -> tuple[Accept, OpenAssociation, ScpPolicy] | Reject:
        with self._ended:
            self._connections[connection] = False
        snapshot = self._snapshot()
        self._host_names.refresh(_hosts_to_know(rq, snapshot))
        below_watermark = self._storage.below_watermark()
        with self._places.lock:
            decision = decide(
                rq,
                connection.peer_host,
                snapshot,
                self._host_names.addresses_of,
                open_associations=len(self._places),
                below_watermark=below_watermark,
            )
            if isinstance(decision, Accept):
                association = self._open(rq, connection)
                self._places.take(association)
        if isinstance(decision, Reject):
            answer = decision.answer
            self._places.count(f"associations_rejected_{answer.result}_{answer.source}_{answer.reason}")
            with self._ended:
                self._connections[connection] = True
            return decision
        return decision, association, snapshot.scp

    def _open(self, rq: AAssociateRQ, connection: Connection) -> OpenAssociation:
        now = self._storage.now()
        record = AssociationRecord(
            new_id(), rq.calling_ae_title, rq.called_ae_title, connection.peer_host, connection.peer_port, now
        )
        return OpenAssociation(record, last_activity=now)


def _hosts_to_know(rq: AAssociateRQ, snapshot: ConfigSnapshot) -> Sequence[str]:
    """The host names that deciding on this request needs; addresses are none of them."""
    if not (snapshot.scp.reject_unknown_sources and snapshot.scp.check_source_host):
        return ()
    calling = rq.calling_ae_title.casefold()
    hosts = [source.host for source in snapshot.sources if source.ae_title.casefold() == calling]
    return [host for host in hosts if not is_address(host)]


def _listening_sockets(bind: str, port: int) -> list[socket.socket]:
    """Sockets that listen, non-blocking; one for both families where the system can."""
    where = "" if bind == "all" else bind
    try:
        if not where and socket.has_dualstack_ipv6():
            listening = socket.create_server(("", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
        else:
            family = socket.AF_INET6 if ":" in where else socket.AF_INET
            listening = socket.create_server((where, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise PermanentError(_why_not_listening(bind, port, error)) from error
    listening.setblocking(False)
    return [listening]


def _why_not_listening(bind: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use by another program: stop it, or change dicom.scp.port"
    if error.errno == errno.EACCES:
        return (
            f"port {port} may not be opened: below 1024 it needs root or CAP_NET_BIND_SERVICE; or change dicom.scp.port"
        )
    if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return f"{bind} is no address of this machine: change dicom.scp.bind"
    return f"cannot listen on {bind} port {port}: {error.strerror}"
