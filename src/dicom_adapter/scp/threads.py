"""Serves connections, each in a thread of its own, and admits associations to the places there are.

Why here: limits are about all connections together. One without an association yet holds no place, so silent ones
cannot lock scanners out (promise, 14); they are limited apart, the oldest one dropped first.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from dicom_adapter.core.admission import Accept, Reject, decide, is_address
from dicom_adapter.core.model import AssociationRecord
from dicom_adapter.core.snapshot import ConfigSnapshot, ScpPolicy
from dicom_adapter.dicom.pdu import AAssociateRQ
from dicom_adapter.identifiers import new_id
from dicom_adapter.net.connection import AssociationEnded, Connection, Timeouts
from dicom_adapter.scp.association import AssociationEnvironment, serve
from dicom_adapter.scp.host_names import HostNames
from dicom_adapter.scp.live import OpenAssociation, Register, Rejection
from dicom_adapter.scp.storage import StorageEnvironment

log = structlog.get_logger("scp")

DEFAULT_TIMEOUTS = Timeouts()
ABORT_PATIENCE = 5.0  # seconds for threads to end after their association was aborted


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """How to treat each connection. `max_pdu_length` in bytes; `max_pending`: connections without an association."""

    max_pdu_length: int = 262_144
    max_pending: int = 128
    timeouts: Timeouts = DEFAULT_TIMEOUTS


class AssociationThreads:
    """See the module. Methods may be called from any thread.

    `snapshot`: gives the configuration in force; asked for each association. `on_ended`: told of each connection that
    ended, from its thread.
    """

    def __init__(
        self,
        settings: ConnectionSettings,
        storage: StorageEnvironment,
        register: Register,
        snapshot: Callable[[], ConfigSnapshot],
        on_ended: Callable[[], None] = lambda: None,
        host_names: HostNames | None = None,
    ) -> None:
        self._settings = settings
        self._storage = storage
        self._register = register
        self._snapshot = snapshot
        self._on_ended = on_ended
        self._host_names = host_names or HostNames()
        self._environment = AssociationEnvironment(
            self._admit, self._turned_away, self._let_linger, register, storage, settings.max_pdu_length
        )
        self._ended = threading.Condition()
        self._most_pending = settings.max_pending
        self._threads: set[threading.Thread] = set()
        self._connections: dict[Connection, bool] = {}  # in order of arrival; True: it may be dropped

    def serve(self, sock: socket.socket) -> None:
        """Serve a connection that was accepted, in a thread of its own."""
        sock.setblocking(True)
        try:
            connection = Connection.accept(
                sock, max_pdu_length=self._settings.max_pdu_length, timeouts=self._settings.timeouts
            )
        except AssociationEnded as ended:
            log.debug("connection ended at once", why=str(ended))
            self._on_ended()
            return
        thread = threading.Thread(target=self._run, args=(connection,), name="association", daemon=True)
        with self._ended:
            self._threads.add(thread)
            self._add_pending(connection)
        try:
            thread.start()
        except RuntimeError:  # the system has no thread left
            log.exception("a connection could not be served")
            connection.close()
            self._forget(connection, thread)

    def drop_pending(self) -> None:
        """End every connection that holds no association."""
        with self._ended:
            pending = self._pending()
            self._connections.update(dict.fromkeys(pending, False))
        for connection in pending:
            connection.wake()

    def stop(self, grace: float) -> None:
        """Open associations may finish within `grace` seconds, then they are aborted. Returns when all have ended.

        May be called again, to grant less.
        """
        with self._ended:
            self._most_pending = 0  # nor is any waited for that has ended by now
        self.drop_pending()
        self._wait_for_end(grace)
        with self._ended:
            remaining = list(self._connections)
        for connection in remaining:
            connection.wake()
        if not self._wait_for_end(ABORT_PATIENCE):
            log.warning("some associations did not end; their instances are taken up at the next start")

    def refresh(self) -> None:
        """Nothing to do: the threads write into `Places` themselves."""

    def wait_for_an_end(self, patience: float) -> None:
        """Return when a connection has ended, or after `patience` seconds."""
        with self._ended:
            self._ended.wait(patience)

    def _wait_for_end(self, patience: float) -> bool:
        with self._ended:
            return self._ended.wait_for(lambda: not self._threads, timeout=patience)

    def _pending(self) -> list[Connection]:
        """Connections without an association, oldest first: silent ones, and until the peer closes, those that were
        rejected or have ended."""
        return [connection for connection, pending in self._connections.items() if pending]

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
        self._on_ended()

    def _let_linger(self, connection: Connection) -> None:
        """Its association has ended; a peer that does not close must not cost a thread and a descriptor for long."""
        with self._ended:
            self._add_pending(connection)

    def _add_pending(self, connection: Connection) -> None:
        """One more without an association; with one too many the oldest is dropped."""
        self._connections[connection] = True
        pending = self._pending()
        if len(pending) > self._most_pending:
            self._connections[pending[0]] = False  # it is gone already, though its thread may not know yet
            self._register.count("connections_dropped")
            pending[0].wake()

    # --- admitting associations -------------------------------------------------------------------------------------

    def _admit(self, rq: AAssociateRQ, connection: Connection) -> tuple[Accept, OpenAssociation, ScpPolicy] | Reject:
        with self._ended:
            self._connections[connection] = False
        snapshot = self._snapshot()
        self._host_names.refresh(_hosts_to_know(rq, snapshot))
        association = self._new_association(rq, connection)
        decision = self._decide(rq, connection, snapshot, open_associations=0)
        if isinstance(decision, Accept):
            most = snapshot.scp.max_associations
            if self._register.take(association, most):
                return decision, association, snapshot.scp
            decision = self._decide(rq, connection, snapshot, open_associations=most)
        assert isinstance(decision, Reject)
        self._turned_away(rq, connection, decision)
        return decision

    def _turned_away(self, rq: AAssociateRQ, connection: Connection, decision: Reject) -> None:
        answer = decision.answer
        self._register.count(f"associations_rejected_{answer.result}_{answer.source}_{answer.reason}")
        caller = rq.calling_ae_title, rq.called_ae_title, connection.peer_host
        self._register.reject(Rejection(*caller, str(answer), decision.words), self._storage.now())
        with self._ended:
            self._connections[connection] = True

    def _decide(
        self, rq: AAssociateRQ, connection: Connection, snapshot: ConfigSnapshot, *, open_associations: int
    ) -> Accept | Reject:
        return decide(
            rq,
            connection.peer_host,
            snapshot,
            self._host_names.addresses_of,
            open_associations=open_associations,
            below_watermark=self._storage.below_watermark(),
        )

    def _new_association(self, rq: AAssociateRQ, connection: Connection) -> OpenAssociation:
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
