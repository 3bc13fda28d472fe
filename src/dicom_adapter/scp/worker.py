"""An SCP worker process: serves the connections that the adapter hands over, each in a thread.

    python -m dicom_adapter.scp.worker CONTROL SOCKETS

with the numbers of two inherited descriptors: the connection for `messages`, and the socket that connections of peers
come through (SCM_RIGHTS).

Why a process: threads of one interpreter take turns, and at a gigabyte a second the turns cost more than the work.
The worker writes into the spool itself; places, counters and the configuration belong to the adapter. When the adapter
dies the worker does, at once: until then it keeps the storage folder's lock, so that no other adapter takes it up.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, NoReturn

import structlog

from dicom_adapter import crash_points, logs
from dicom_adapter.clock import Clock
from dicom_adapter.core.model import AssociationOutcome
from dicom_adapter.core.snapshot import ConfigSnapshot
from dicom_adapter.scp import messages
from dicom_adapter.scp.live import OpenAssociation, Rejection
from dicom_adapter.scp.messages import FromWorker, WorkerSettings
from dicom_adapter.scp.storage import StorageEnvironment
from dicom_adapter.scp.threads import AssociationThreads
from dicom_adapter.spool import Spool
from dicom_adapter.spool.watermark import Watermark

log = structlog.get_logger("scp")

OUTCOME_INTERVAL: Final = 2.0  # seconds between tries to write outcomes that the disk did not allow


class AdapterRegister:
    """A `Register` that asks the adapter."""

    def __init__(self, control: Connection, spool: Spool) -> None:
        self._control = control
        self._spool = spool
        self._sending = threading.Lock()
        self._numbers = count(1)
        self._questions: dict[int, Future[bool]] = {}
        self._open: dict[str, OpenAssociation] = {}

    def take(self, association: OpenAssociation, most: int) -> bool:
        """See `Register`."""
        number, answer = self._question()
        self.send(messages.Take(number, replace(association), most))
        granted = answer.result()
        if granted:
            self._open[association.record.id] = association
        return granted

    def leave(self, association: OpenAssociation, outcome: str) -> None:
        """See `Register`."""
        number, answer = self._question()
        self._open.pop(association.record.id, None)
        durable = not self._spool.is_live(association.record.id)
        self.send(messages.Leave(number, association, AssociationOutcome(outcome), durable))
        answer.result()

    def reject(self, rejection: Rejection, at: float) -> None:
        """See `Register`."""
        self.send(messages.Rejected(rejection, at))

    def count(self, name: str, amount: int = 1) -> None:
        """See `Register`."""
        self.send(messages.Counted(name, amount))

    def connection_ended(self) -> None:
        """One connection less."""
        self.send(messages.ConnectionEnded())

    def tell_progress(self) -> None:
        """What is open now."""
        self.send(messages.Progress(tuple(map(replace, list(self._open.values())))))

    def answered(self, answer: messages.Answer) -> None:
        """The adapter answered a question."""
        self._questions.pop(answer.number).set_result(answer.granted)

    def send(self, message: FromWorker) -> None:
        """From any thread."""
        with self._sending:
            self._control.send(message)

    def _question(self) -> tuple[int, Future[bool]]:
        number, answer = next(self._numbers), Future[bool]()
        self._questions[number] = answer
        return number, answer


class Worker:
    """See the module."""

    def __init__(self, control: Connection, sockets: socket.socket) -> None:
        settings: WorkerSettings = control.recv()
        configured: messages.Configured = control.recv()
        logs.configure(settings.log_level, settings.log_format)
        self._control = control
        self._sockets = sockets
        self._exhausted = False  # the last connection found no descriptor left
        self._snapshot = configured.snapshot
        self._spool = Spool(Path(settings.storage), settings.durability, tell_owner=self._tell_of_the_disk)
        self._register = AdapterRegister(control, self._spool)
        self._threads = AssociationThreads(
            settings.connection,
            StorageEnvironment(
                spool=self._spool,
                below_watermark=Watermark(
                    self._spool.space,
                    watermark_percent=settings.watermark_percent,
                    reserve=settings.reserve_space,
                ),
                now=Clock().now,
                implementation_class_uid=settings.implementation_class_uid,
                implementation_version_name=settings.implementation_version_name,
            ),
            self._register,
            self._get_snapshot,
            self._register.connection_ended,
        )

    def run(self) -> NoReturn:
        """Until the adapter closes its end."""
        poll = select.poll()
        poll.register(self._control.fileno(), select.POLLIN)
        poll.register(self._sockets.fileno(), select.POLLIN)
        look_at = 0.0
        while True:
            ready = [descriptor for descriptor, _ in poll.poll(OUTCOME_INTERVAL * 1000)]
            if self._control.fileno() in ready:
                self._receive()
                while self._control.poll():  # a configuration that was published first is in force first
                    self._receive()
            if self._sockets.fileno() in ready:
                self._serve()
            if time.monotonic() >= look_at:  # however much there is to do: intake waits for them
                self._finish_outcomes()
                look_at = time.monotonic() + OUTCOME_INTERVAL

    def _receive(self) -> None:
        try:
            message: messages.ToWorker = self._control.recv()
        except (EOFError, OSError):
            # It has stopped us, or it died: then what we hold open is no one's any more, and every instant counts.
            os._exit(0)
        match message:
            case messages.Answer():
                self._register.answered(message)
            case messages.Configured(snapshot):
                self._snapshot = snapshot
            case messages.TellProgress():
                self._register.tell_progress()
            case messages.Stop(grace):
                threading.Thread(target=self._stop, args=(grace,), name="stop", daemon=True).start()
            case _:
                log.error("the adapter sent a message that comes first only", message=type(message).__name__)

    def _serve(self) -> None:
        handed_over, descriptors, _, _ = socket.recv_fds(self._sockets, 1, 1)
        if handed_over and not descriptors:  # out of descriptors: the system has closed it
            if not self._exhausted:
                log.error("connections cannot be served for now: raise the limit of open files")
            self._register.connection_ended()
        self._exhausted = not descriptors
        for descriptor in descriptors:
            self._threads.serve(socket.socket(fileno=descriptor))

    def _stop(self, grace: float) -> None:
        self._threads.stop(grace)
        self._finish_outcomes()
        self._register.send(messages.Stopped())

    def _finish_outcomes(self) -> None:
        for association_id in self._spool.finish_own_outcomes():
            self._register.send(messages.OutcomeWritten(association_id))

    def _tell_of_the_disk(self, why: str) -> None:
        self._register.send(messages.DiskFailed(why))

    def _get_snapshot(self) -> ConfigSnapshot:
        return self._snapshot


def main() -> NoReturn:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a terminal or service manager tells all of us; the adapter decides
    crash_points.die_together_with(os.getppid())
    control, sockets = (int(number) for number in sys.argv[1:])
    Worker(Connection(control), socket.socket(fileno=sockets)).run()


if __name__ == "__main__":
    main()
