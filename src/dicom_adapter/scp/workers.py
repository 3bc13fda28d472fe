"""The worker processes that serve associations: as many as the associations that are open need, up to a limit.

Why here: what one worker does is in `worker`; who gets which connection, and what is left when one dies, is here. The
first association of an idle adapter always goes to the first worker. Two are ready from the start, so that a second
scanner waits for none; another is started when all have something to do.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Final

import structlog

from dicom_adapter.core.snapshot import ConfigSnapshot
from dicom_adapter.scp import messages
from dicom_adapter.scp.live import Places
from dicom_adapter.scp.messages import FromWorker, ToWorker, WorkerSettings
from dicom_adapter.scp.threads import ABORT_PATIENCE
from dicom_adapter.spool import Spool

log = structlog.get_logger("scp")

PROGRESS_PATIENCE: Final = 1.0  # seconds; beyond it the numbers of the last time are shown
READY: Final = 2  # workers that are started with the adapter, if it may have as many
EXIT_PATIENCE: Final = 5.0  # seconds for a worker that has stopped to be gone


class WorkerPool:
    """A `Host` of processes. Methods may be called from any thread.

    `settings`: of each worker; its limit of pending connections is divided among them, as connections are.
    `most`: how many workers. `spool`: the adapter's own; workers write into it, and it learns here who does.
    """

    def __init__(self, settings: WorkerSettings, most: int, places: Places, spool: Spool) -> None:
        pending = -(-settings.connection.max_pending // most)
        self._settings = replace(settings, connection=replace(settings.connection, max_pending=pending))
        self._most = most
        self._places = places
        self._spool = spool
        self._snapshot = ConfigSnapshot()
        self._workers: list[_Worker] = []
        self._changed = threading.Condition()
        self._stopping = False

    def start(self, snapshot: ConfigSnapshot) -> None:
        """Have workers ready. Raises OSError when the system allows no process."""
        with self._changed:
            self._snapshot = _for_scp(snapshot)
            for _ in range(min(READY, self._most)):
                self._workers.append(self._new_worker())

    def publish(self, snapshot: ConfigSnapshot) -> None:
        """The configuration in force from now on."""
        with self._changed:
            self._snapshot = _for_scp(snapshot)
            for worker in self._workers:
                worker.send(messages.Configured(self._snapshot))

    def serve(self, sock: socket.socket) -> None:
        """See `Host`."""
        with sock:
            try:
                worker = self._least_busy()
                try:
                    worker.hand_over(sock)
                except OSError:
                    self._one_less(worker)
                    raise
            except OSError as error:
                log.error("a connection could not be served", why=_words(error))

    def wait_for_an_end(self, patience: float) -> None:
        """See `Host`."""
        with self._changed:
            self._changed.wait(patience)

    def refresh(self) -> None:
        """See `Host`."""
        with self._changed:
            asked = {worker: worker.ask_progress() for worker in self._workers}
            self._changed.wait_for(
                lambda: all(worker.told >= number or worker.gone for worker, number in asked.items()),
                PROGRESS_PATIENCE,
            )

    def stop(self, grace: float) -> None:
        """See `Host`."""
        with self._changed:
            self._stopping = True
            workers = tuple(self._workers)
        for worker in workers:
            worker.send(messages.Stop(grace))
        until = time.monotonic() + grace + ABORT_PATIENCE + EXIT_PATIENCE
        for worker in workers:
            worker.end(max(0.0, until - time.monotonic()))

    def _least_busy(self) -> _Worker:
        """The worker for the next connection, counted as its own already."""
        with self._changed:
            worker = min(self._workers, key=lambda one: one.connections, default=None)
            if worker is None:
                worker = self._new_worker()  # it takes a moment to be ready, but what is handed over waits for it
                self._workers.append(worker)
            elif worker.connections and len(self._workers) < self._most:
                try:
                    self._workers.append(self._new_worker())  # for the next one
                except OSError as error:
                    log.warning("no further SCP worker process", why=_words(error))
            worker.connections += 1
            return worker

    def _one_less(self, worker: _Worker) -> None:
        with self._changed:
            worker.connections -= 1
            self._changed.notify_all()

    def _new_worker(self) -> _Worker:
        return _Worker(self, self._settings, self._snapshot, self._spool.lock_descriptor)

    # --- what workers say: each from its own reader thread ----------------------------------------------------------

    def received(self, worker: _Worker, message: FromWorker) -> None:
        """One message of a worker."""
        match message:
            case messages.Take(number, association, most):
                granted = self._places.take(association, most)
                if granted:
                    worker.associations.add(association.record.id)
                    self._spool.hold(association.record.id)
                worker.send(messages.Answer(number, granted))
            case messages.Leave(number, association, outcome, durable):
                if durable:
                    self._durable(worker, association.record.id)
                self._places.leave(association, outcome.value)
                worker.send(messages.Answer(number, granted=True))
            case messages.OutcomeWritten(association_id):
                self._durable(worker, association_id)
                self._places.changed()
            case messages.Rejected(rejection, at):
                self._places.reject(rejection, at)
            case messages.Counted(name, amount):
                self._places.count(name, amount)
            case messages.ConnectionEnded():
                self._one_less(worker)
            case messages.Progress(associations):
                for association in associations:
                    self._places.update(association)
                with self._changed:
                    worker.told += 1
                    self._changed.notify_all()
            case messages.DiskFailed(why):
                self._spool.distrust(why)
            case messages.Stopped():
                worker.close()

    def ended(self, worker: _Worker, status: int) -> None:
        """A worker is no more. What it had not brought to an end is interrupted, as when the whole adapter dies."""
        with self._changed:
            self._workers.remove(worker)
            worker.gone = True
            self._changed.notify_all()
            expected = self._stopping
        if not expected:
            log.error(
                "an SCP worker process died; its associations count as interrupted, and another takes its place",
                pid=worker.pid,
                status=status,
                associations=len(worker.associations),
            )
        self._spool.adopt(worker.associations)
        for association_id in worker.associations:
            self._places.lose(association_id)
        self._places.changed()

    def _durable(self, worker: _Worker, association_id: str) -> None:
        worker.associations.discard(association_id)
        self._spool.let_go(association_id)


class _Worker:
    """One worker process, as the adapter sees it."""

    def __init__(self, pool: WorkerPool, settings: WorkerSettings, snapshot: ConfigSnapshot, lock: int) -> None:
        ours, theirs = socket.socketpair()
        self._sockets, their_sockets = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, their_sockets:
            inherited = (theirs.fileno(), their_sockets.fileno())
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "dicom_adapter.scp.worker", *map(str, inherited)],
                stdin=subprocess.DEVNULL,
                # The lock lives as long as any of us: nobody takes up a folder that a worker still writes into.
                pass_fds=(*inherited, lock),
            )
        self._control = Connection(ours.detach())
        self._sending = threading.Lock()
        self.connections = 0
        self.associations: set[str] = set()  # whose outcome is not durable
        self.asked = self.told = 0  # how often for progress
        self.gone = False
        self._pool = pool
        self.send(settings)
        self.send(messages.Configured(snapshot))
        self._reader = threading.Thread(target=self._read, name="scp worker", daemon=True)
        try:
            self._reader.start()
        except RuntimeError as error:  # the system has no thread left
            self._process.kill()
            self._process.wait()
            self._control.close()
            self._sockets.close()
            raise OSError(errno.EAGAIN, str(error)) from error

    @property
    def pid(self) -> int:
        return self._process.pid

    def hand_over(self, sock: socket.socket) -> None:
        """Give it a connection; ours is to be closed after that. Raises OSError: it died."""
        socket.send_fds(self._sockets, [b"c"], [sock.fileno()])

    def ask_progress(self) -> int:
        """The number of answers by which this one is given. One that does not answer is not asked again and again."""
        if self.asked - self.told < 2:
            self.asked += 1
            self.send(messages.TellProgress())
        return self.asked

    def send(self, message: ToWorker) -> None:
        """One that is gone gets nothing: its reader tells the pool."""
        with self._sending, contextlib.suppress(OSError):
            self._control.send(message)

    def close(self) -> None:
        """Let it go: it ends when it sees this."""
        with self._sending:
            self._control.close()

    def end(self, patience: float) -> None:
        """Return when it is gone, and what it left is adopted; it is killed when it takes longer."""
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            log.warning("an SCP worker process does not stop and is killed", pid=self.pid)
            self._process.kill()
        self._reader.join()

    def _read(self) -> None:
        try:
            while True:
                self._pool.received(self, self._control.recv())
        except (EOFError, OSError):
            pass  # it is gone, or has stopped
        except Exception:
            log.exception("an SCP worker process cannot be served and is killed", pid=self.pid)
            self._process.kill()
        status = self._process.wait()  # only then nothing of it writes any more
        self._sockets.close()
        self._pool.ended(self, status)


def _for_scp(snapshot: ConfigSnapshot) -> ConfigSnapshot:
    """What an SCP decides with: it has no use for pipelines, whose environment may hold secrets."""
    return replace(snapshot, pipelines={}, destinations={}, retired={})


def _words(error: OSError) -> str:
    return error.strerror or str(error)


def workers_for(max_associations: int) -> int:
    """How many workers serve best: one for each core. Taking turns costs time, processes cost memory."""
    return max(1, min(max_associations, os.cpu_count() or 1))
