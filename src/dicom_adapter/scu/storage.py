"""Storage SCU: C-STORE of files to one peer, as they are stored, with one outcome for each (PS3.4 Annex B).

Why here: nothing is decoded or transcoded, so a file goes from the disk to the socket by sendfile. What is decided is
which presentation context carries it, and what an answer, a refusal or a broken association means for it and the rest.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from dicom_adapter.core.errors import Stopping
from dicom_adapter.core.model import DeliveryState, ExportFile, FileOutcome
from dicom_adapter.core.snapshot import Destination
from dicom_adapter.dicom.command_set import CommandField, CommandSet
from dicom_adapter.dicom.dataset_head import HeadScanner
from dicom_adapter.dicom.dimse import c_store_rq
from dicom_adapter.dicom.part10 import Part10Error, read_file_meta
from dicom_adapter.dicom.pdu import MAX_PRESENTATION_CONTEXTS
from dicom_adapter.dicom.status import Category, category, words
from dicom_adapter.dicom.uid import name_of
from dicom_adapter.dimse_log import log_command, log_data_set
from dicom_adapter.net.connection import AssociationEnded, AssociationRejected, Connection
from dicom_adapter.scu.requestor import (
    Peer,
    RequestorSettings,
    associate,
    is_transient,
    propose_each,
    rejection_in_words,
)

log = structlog.get_logger("scu")

HEAD: Final = 16 << 10  # bytes of a file read to find its data set
TRANSIENT_DELAYS: Final = (1.0, 5.0)  # seconds before asking a peer again that rejected for now
_MAX_MESSAGE_ID: Final = 0xFFFF

OnOutcome = Callable[[FileOutcome], None]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A file to send. `number` names it in its outcome."""

    number: int
    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set_offset: int
    data_set_length: int

    @property
    def syntaxes(self) -> tuple[str, str]:
        return self.sop_class_uid, self.transfer_syntax_uid


class Unsendable(Exception):
    """A file that cannot be sent; the message says why."""


class StorageScu:
    """Sends files. An ExportAgent of `core.ports`; any number of exports at once, each in its caller's thread.

    `folder`: what the paths of ExportFile are relative to. `log_dimse_datasets`, `log_phi`: see `dimse_log`.
    """

    def __init__(
        self, settings: RequestorSettings, folder: Path, *, log_dimse_datasets: bool = False, log_phi: bool = False
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._log_data_sets = log_dimse_datasets
        self._show_phi = log_phi
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._connections: set[Connection] = set()

    def export(self, destination: Destination, files: Sequence[ExportFile], on_outcome: OnOutcome) -> None:
        """Try each file once; see `core.ports.ExportAgent`."""
        paths = ((file.number, self._folder / file.path) for file in files)
        self.send(Peer(destination.ae_title, destination.host, destination.port), paths, on_outcome)

    def stop(self) -> None:
        """From another thread: end what is being sent, soon. Callers of `export` and `send` get Stopping."""
        self._stopping.set()
        with self._lock:
            for connection in self._connections:
                connection.wake()

    def send(self, peer: Peer, paths: Iterable[tuple[int, Path]], on_outcome: OnOutcome) -> None:
        """Send the files to `peer` and tell each one's outcome, by number. Raises Stopping, nothing else on purpose."""
        ready: list[Outgoing] = []
        for number, path in paths:
            try:
                ready.append(examine(number, path))
            except Unsendable as reason:
                on_outcome(FileOutcome(number, DeliveryState.FAILED, reason=str(reason)))
        for files in _rounds(ready):
            _Round(self, peer, files, on_outcome).run()

    # --- of one association -----------------------------------------------------------------------------------------

    def open(self, peer: Peer, files: Sequence[Outgoing]) -> Connection:
        """An association for these files. A peer that rejects for now is asked again, a little later."""
        contexts = propose_each(list(dict.fromkeys(file.syntaxes for file in files)))
        delays = iter(TRANSIENT_DELAYS)
        while True:
            self.check_stopping()
            try:
                connection = associate(self._settings, peer, contexts)
            except AssociationRejected as rejected:
                delay = next(delays, None) if is_transient(rejected.rj) else None
                if delay is None:
                    reason = rejection_in_words(rejected.rj, self._settings.ae_title, peer.ae_title)
                    raise AssociationEnded(reason, by_peer=True) from None
                self._stopping.wait(delay)
                continue
            with self._lock:
                self._connections.add(connection)
            return connection

    def close(self, connection: Connection) -> None:
        """Close it, aborting what was not released."""
        with self._lock:
            self._connections.discard(connection)
        connection.close()

    def check_stopping(self) -> None:
        """Raises Stopping after `stop`."""
        if self._stopping.is_set():
            raise Stopping("the adapter stops")

    def log_message(self, direction: str, command: CommandSet, path: Path | None = None) -> None:
        """For scu.log-dimse-datasets."""
        if self._log_data_sets:
            log_command(direction, command)
            if path is not None:
                log_data_set(direction, path, show_phi=self._show_phi)


class _Round:
    """Files that fit into one association, and what is left of them."""

    def __init__(self, scu: StorageScu, peer: Peer, files: Sequence[Outgoing], on_outcome: OnOutcome) -> None:
        self._scu = scu
        self._peer = peer
        self._left = list(reversed(files))  # the next one last
        self._on_outcome = on_outcome
        self._answered = 0  # files that got a response in the current association
        self._may_break_at_once = True  # one association may, by bad luck; a second one without an answer is no luck

    def run(self) -> None:
        """One association. What a broken one left over goes to a new one, as long as the peer answers now and then."""
        reason: str | None = None
        while self._left:
            self._answered = 0
            reason = self._associate()
            if not self._answered and not self._may_break_at_once:
                break
            self._may_break_at_once = False
        while self._left:
            self._failed(self._left.pop(), reason or "it was not sent")

    def _associate(self) -> str | None:
        """One association for what is left. None: everything has its outcome; else why it has not."""
        try:
            connection = self._scu.open(self._peer, self._left)
        except AssociationEnded as failed:
            self._scu.check_stopping()
            self._may_break_at_once = False
            return str(failed)
        try:
            self._send_all(connection)
            connection.release()
        except AssociationEnded as ended:
            self._scu.check_stopping()
            log.warning("association ended early", peer=str(self._peer), why=str(ended), unsent=len(self._left))
            return str(ended)
        finally:
            self._scu.close(connection)
        return None

    def _send_all(self, connection: Connection) -> None:
        carriers = {(c.abstract_syntax, c.transfer_syntax): c.id for c in connection.contexts.values()}
        message_id = 0
        while self._left:
            self._scu.check_stopping()
            file = self._left.pop()
            context_id = carriers.get(file.syntaxes)
            if context_id is None:
                self._failed(file, _refused(file))
                continue
            message_id = message_id % _MAX_MESSAGE_ID + 1
            try:
                status = self._store(connection, context_id, message_id, file)
            except OSError as error:
                self._failed(file, f"the file cannot be read: {error.strerror}")
                raise AssociationEnded("a file could not be read to its end", by_peer=False) from error
            except AssociationEnded as ended:
                self._scu.check_stopping()
                self._failed(file, str(ended))
                raise
            self._answered += 1
            self._on_outcome(_outcome(file.number, status))

    def _store(self, connection: Connection, context_id: int, message_id: int, file: Outgoing) -> int:
        """One C-STORE; the status of its response."""
        descriptor = os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            command = c_store_rq(message_id, file.sop_class_uid, file.sop_instance_uid)
            self._scu.log_message("sent", command, file.path)
            connection.send_command(context_id, command)
            connection.send_data_set(context_id, descriptor, file.data_set_offset, file.data_set_length)
        finally:
            os.close(descriptor)
        received = connection.receive_command()
        if received is None:
            connection.confirm_release()
            raise AssociationEnded("the peer released the association instead of answering", by_peer=True)
        self._scu.log_message("received", received[1])
        return _status_of(received, context_id, message_id)

    def _failed(self, file: Outgoing, reason: str) -> None:
        self._on_outcome(FileOutcome(file.number, DeliveryState.FAILED, reason=reason))


def examine(number: int, path: Path) -> Outgoing:
    """What sending a file needs to know of it. Raises Unsendable."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            head = os.pread(descriptor, HEAD, 0)
        finally:
            os.close(descriptor)
        meta = read_file_meta(head)
    except OSError as error:
        raise Unsendable(f"the file cannot be read: {error.strerror}") from error
    except Part10Error as error:
        raise Unsendable(str(error)) from error
    # The data set is what the peer will judge: writers forget (0002,0002) and (0002,0003), or copy others.
    scanner = HeadScanner(meta.transfer_syntax_uid)
    scanner.feed(head[meta.data_set_offset :])
    sop_class = scanner.sop_class_uid or meta.sop_class_uid
    sop_instance = scanner.sop_instance_uid or meta.sop_instance_uid
    if not sop_class or not sop_instance:
        raise Unsendable("the file names no SOP Class and Instance UID")
    length = size - meta.data_set_offset
    return Outgoing(number, path, sop_class, sop_instance, meta.transfer_syntax_uid, meta.data_set_offset, length)


def _rounds(files: Sequence[Outgoing]) -> Iterator[list[Outgoing]]:
    """The files in their order, in as few groups as the 128 presentation contexts of an association allow."""
    group: list[Outgoing] = []
    pairs: set[tuple[str, str]] = set()
    for file in files:
        if file.syntaxes not in pairs and len(pairs) == MAX_PRESENTATION_CONTEXTS:
            yield group
            group, pairs = [], set()
        group.append(file)
        pairs.add(file.syntaxes)
    if group:
        yield group


def _status_of(received: tuple[int, CommandSet], context_id: int, message_id: int) -> int:
    """The status of the C-STORE-RSP that answers this message; anything else breaks the association (promise, 125)."""
    answered_in, command = received
    if command.command_field != CommandField.C_STORE_RSP:
        raise AssociationEnded("the peer answered something other than C-STORE-RSP", by_peer=True)
    if command.message_id_being_responded_to != message_id:
        raise AssociationEnded("the peer answered another message than the one sent", by_peer=True)
    if answered_in != context_id:
        raise AssociationEnded("the peer answered in another presentation context", by_peer=True)
    if command.status is None:
        raise AssociationEnded("the peer answered without a status", by_peer=True)
    return command.status


def _outcome(number: int, status: int) -> FileOutcome:
    kind = category(status)
    if kind is Category.SUCCESS:
        return FileOutcome(number, DeliveryState.DELIVERED, status)
    state = DeliveryState.WARNING if kind is Category.WARNING else DeliveryState.FAILED
    return FileOutcome(number, state, status, words(status))


def _refused(file: Outgoing) -> str:
    return (
        f"the peer does not accept {name_of(file.sop_class_uid)} in {name_of(file.transfer_syntax_uid)}; "
        "files are sent as they are stored, never converted"
    )
