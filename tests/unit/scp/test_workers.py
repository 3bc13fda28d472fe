"""Real worker processes over a real spool: places, numbers and configuration are the adapter's, files the worker's."""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import Pipe
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from dicom_adapter.core.errors import OutOfResources
from dicom_adapter.core.model import AssociationOutcome
from dicom_adapter.core.snapshot import ClaraAeTitle, ConfigSnapshot, Pipeline, ScpPolicy, Source
from dicom_adapter.dicom.negotiation import propose
from dicom_adapter.dicom.pdu import AAssociateRQ, UserInformation
from dicom_adapter.net.connection import AssociationEnded, AssociationRejected, Connection
from dicom_adapter.scp.listener import Listener
from dicom_adapter.scp.live import Places
from dicom_adapter.scp.messages import Configured, DiskFailed, WorkerSettings
from dicom_adapter.scp.threads import ConnectionSettings
from dicom_adapter.scp.worker import Worker
from dicom_adapter.scp.workers import WorkerPool, workers_for
from dicom_adapter.spool import Durability, Spool
from dicom_adapter.spool.fs import FileSystem
from dicom_adapter.spool.spool import SpoolLocked
from tests.peers import CT, EXPLICIT, QUICK
from tests.scp_harness import store
from tests.spool_faults import facts, record
from tests.waiting import eventually

SNAPSHOT = ConfigSnapshot(
    ae_titles={"BRAIN": ClaraAeTitle("brain", "BRAIN")},
    sources=(Source("CT01", "127.0.0.1"),),
    scp=ScpPolicy(max_associations=3),
)


@dataclass
class House:
    """The SCP with its workers."""

    pool: WorkerPool
    listener: Listener
    spool: Spool
    folder: Path
    changes: list[float] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)

    def associate(self, called: str = "BRAIN") -> Connection:
        user_information = UserInformation(max_pdu_length=16384, implementation_class_uid="1.2.3")
        rq = AAssociateRQ(called, "CT01", propose(((CT, (EXPLICIT,)),)), user_information)
        port = self.listener.port
        connection = Connection.request("127.0.0.1", port, rq, max_pdu_length=16384, timeouts=QUICK)
        self.connections.append(connection)
        return connection

    def store(self, connection: Connection, sop_instance: str) -> None:
        assert store(connection, self.folder, sop_instance=sop_instance).status == 0

    def pids(self) -> list[int]:
        return [worker.pid for worker in self.pool._workers]

    def outcomes(self) -> list[tuple[AssociationOutcome | None, int]]:
        return [(record.outcome, len(found)) for record, found in self.spool.closed_associations(set())]


@contextmanager
def running(folder: Path, most: int = 1, durability: Durability = Durability.NONE) -> Iterator[House]:
    with closing(Spool(folder / "storage", durability)) as spool:
        places = Places(lambda: house.changes.append(time.monotonic()))
        settings = WorkerSettings(
            connection=ConnectionSettings(timeouts=QUICK),
            storage=str(folder / "storage"),
            durability=durability,
            watermark_percent=100,
            reserve_space=0,
            implementation_class_uid="1.2.3.4",
            implementation_version_name="TEST_1",
            log_level="warning",
            log_format="text",
        )
        pool = WorkerPool(settings, most, places, spool)
        house = House(pool, Listener(pool, places, 0, "127.0.0.1"), spool, folder)
        pool.start(SNAPSHOT)
        house.listener.start()
        try:
            yield house
        finally:
            for connection in house.connections:
                connection.close()
            house.listener.stop(0)
            assert house.pids() == []


def test_an_association_is_told_of_while_it_is_open_and_left_to_the_scanner_when_it_has_ended(tmp_path: Path) -> None:
    with running(tmp_path) as house:
        connection = house.associate()
        house.store(connection, "1.2.3.1")
        (seen,) = house.listener.open_associations()
        assert (seen.record.calling_ae_title, seen.instances) == ("CT01", 1)
        assert house.listener.is_open_to("BRAIN")
        assert house.outcomes() == []
        house.store(connection, "1.2.3.2")
        assert house.listener.counters()["instances"] == 2
        connection.release()
        assert house.outcomes() == [(AssociationOutcome.RELEASED, 2)]
        assert not house.listener.is_open_to("BRAIN")
        assert house.changes
        assert house.listener.counters()["associations_released"] == 1


def test_places_are_counted_over_all_workers(tmp_path: Path) -> None:
    with running(tmp_path, most=2) as house:
        three = [house.associate() for _ in range(3)]
        assert [worker.connections for worker in house.pool._workers] == [2, 1]
        with pytest.raises(AssociationRejected, match="local-limit-exceeded"):
            house.associate()
        three[0].release()
        house.associate().release()  # at once: the place was free before the release was confirmed
        assert house.listener.counters()["associations_rejected_2_3_2"] == 1
        [turned_away] = house.listener.rejections()
        assert (turned_away.rejection.called_ae_title, turned_away.times) == ("BRAIN", 1)
        assert turned_away.rejection.answer == "rejected-transient, service-provider-presentation, local-limit-exceeded"


def test_one_association_at_a_time_needs_no_further_worker(tmp_path: Path) -> None:
    with running(tmp_path, most=4) as house:
        for _ in range(3):
            connection = house.associate()
            connection.release()
            connection.close()
            eventually(lambda: house.pool._workers[0].connections == 0)
        assert len(house.pids()) == 2


def test_a_further_worker_is_started_when_all_have_something_to_do(tmp_path: Path) -> None:
    with running(tmp_path, most=3) as house:
        two = [house.associate(), house.associate()]
        assert len(house.pids()) == 2
        three = [*two, house.associate()]
        assert len(house.pids()) == 3
        for connection in three:
            connection.release()


def test_a_configuration_is_in_force_in_every_worker(tmp_path: Path) -> None:
    with running(tmp_path) as house:
        with pytest.raises(AssociationRejected, match="called-ae-title-not-recognized"):
            house.associate("LUNG")
        house.pool.publish(replace(SNAPSHOT, ae_titles={"LUNG": ClaraAeTitle("lung", "LUNG")}))
        house.associate("LUNG").release()
        with pytest.raises(AssociationRejected, match="called-ae-title-not-recognized"):
            house.associate("BRAIN")


def test_workers_learn_nothing_of_pipelines(tmp_path: Path) -> None:
    with running(tmp_path) as house:
        secret = Pipeline("p", "p", environment={"TOKEN": "secret"})
        house.pool.publish(replace(SNAPSHOT, pipelines={"p": secret}))
        assert house.pool._snapshot.pipelines == {}


@pytest.mark.parametrize("durability", list(Durability))
def test_a_worker_that_dies_costs_its_own_associations_only(tmp_path: Path, durability: Durability) -> None:
    with running(tmp_path, most=2, durability=durability) as house:
        first, third, second = (house.associate() for _ in range(3))  # the workers take turns: the third is alone
        house.store(first, "1.2.3.1")
        house.store(second, "1.2.3.2")
        house.store(third, "1.2.3.3")
        with capture_logs() as lines:
            os.kill(house.pids()[1], signal.SIGKILL)  # it has the third
            eventually(lambda: len(house.outcomes()) == 1)
            eventually(lambda: len(house.listener.open_associations()) == 2)
        assert house.outcomes() == [(AssociationOutcome.INTERRUPTED, 1)]
        assert any("worker process died" in line["event"] for line in lines)
        with pytest.raises(AssociationEnded):
            third.receive_command()
        house.store(first, "1.2.3.4")
        first.release()
        second.release()
        assert house.outcomes()[1:] == [(AssociationOutcome.RELEASED, 2), (AssociationOutcome.RELEASED, 1)]
        assert list(house.spool.layout.tmp.iterdir()) == []
        assert house.listener.counters()["associations_interrupted"] == 1


def test_the_next_connection_finds_a_new_worker(tmp_path: Path) -> None:
    with running(tmp_path) as house:
        (pid,) = house.pids()
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: house.pids() == [])
        house.associate().release()
        assert len(house.pids()) == 1


def test_at_a_stop_associations_finish_within_the_grace_time(tmp_path: Path) -> None:
    with running(tmp_path) as house:
        connection = house.associate()
        house.store(connection, "1.2.3.1")
        house.listener.stop(0)
        with pytest.raises(AssociationEnded):
            connection.receive_command()
        assert house.outcomes() == [(AssociationOutcome.INTERRUPTED, 1)]


def test_the_storage_folder_is_locked_as_long_as_a_worker_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicom_adapter.spool.spool.LOCK_PATIENCE", 0.1)
    with running(tmp_path) as house:
        house.associate().release()
        os.close(house.spool._open.pop(house.spool._open.index(house.spool.lock_descriptor)))  # as if we had died
        with pytest.raises(SpoolLocked):
            Spool(tmp_path / "storage")
    with closing(Spool(tmp_path / "storage")):
        pass


def test_how_many_workers_serve_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert [workers_for(most) for most in (1, 2, 4, 1000)] == [1, 2, 2, 2]


def test_an_outcome_that_the_disk_refused_is_tried_again_however_busy_the_worker_is(tmp_path: Path) -> None:
    with running(tmp_path) as house:
        connection = house.associate()
        house.store(connection, "1.2.3.1")
        (folder,) = house.spool.layout.new.iterdir()
        (folder / "released").mkdir()  # in the way of the marker
        with pytest.raises(AssociationEnded):
            connection.release()
        eventually(lambda: len(house.listener.open_associations()) == 0)
        assert house.outcomes() == []
        (folder / "released").rmdir()

        def there_while_somebody_always_asks() -> bool:
            house.listener.open_associations()
            return house.outcomes() == [(AssociationOutcome.RELEASED, 1)]

        eventually(there_while_somebody_always_asks)


def test_a_worker_without_descriptors_says_so_and_its_connections_are_not_counted(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with running(tmp_path) as house:
        (pid,) = house.pids()
        connection = house.associate()
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))  # what is open stays open
        for _ in range(3):
            with pytest.raises(AssociationEnded):
                house.associate()
        eventually(lambda: house.pool._workers[0].connections == 1)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        house.associate().release()
        connection.release()
    assert capfd.readouterr().err.count("raise the limit of open files") == 1


def test_a_system_without_threads_costs_one_connection_and_not_the_listener(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with running(tmp_path) as house:
        os.kill(house.pids()[0], signal.SIGKILL)
        eventually(lambda: house.pids() == [])
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            with pytest.raises(AssociationEnded):
                house.associate()
        house.associate().release()


def test_a_worker_that_hangs_keeps_nobody_who_asks(tmp_path: Path) -> None:
    """What it is asked waits in the socket; were that full, whoever asks next would hang as well."""
    with running(tmp_path) as house:
        worker = house.pool._workers[0]
        os.kill(worker.pid, signal.SIGSTOP)
        try:
            asked = [worker.ask_progress() for _ in range(5)]
        finally:
            os.kill(worker.pid, signal.SIGCONT)
        assert asked[-1] == asked[1]
        eventually(lambda: worker.told == asked[-1])


def test_the_adapter_learns_at_once_that_the_disk_fails_and_judges_when_it_works_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: FileSystem, file: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with running(tmp_path) as house:
        ours, theirs = Pipe()
        ours.send(replace(house.pool._settings, durability=Durability.INSTANCE))
        ours.send(Configured(SNAPSHOT))
        a, b = socket.socketpair()
        monkeypatch.setattr("dicom_adapter.logs.configure", lambda *_: None)
        with ours, theirs, a, b:
            worker = Worker(theirs, b)
            monkeypatch.setattr(FileSystem, "sync", fail)
            with pytest.raises(OutOfResources):
                worker._spool.open_association(record("a1")).create(b"").commit(facts("1.2.3"))
            monkeypatch.undo()
            told = ours.recv()
            worker._register.tell_progress()
            later = ours.recv()
            worker._spool.close()
        assert isinstance(told, DiskFailed)
        house.pool.received(house.pool._workers[0], told)
        assert "sync" in (house.spool.fault or "")
        house.spool.probe()
        house.pool.received(house.pool._workers[0], later)
        assert house.spool.healthy
