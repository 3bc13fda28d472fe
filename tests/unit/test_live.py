"""What the REST API is told of the running adapter: above all, whether it can take a study, and why not."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from dicom_adapter.config.schema import Settings
from dicom_adapter.core.model import Batch, BatchState, GivenTask, Job, JobRef, JobState
from dicom_adapter.core.snapshot import ConfigSnapshot
from dicom_adapter.engines.local_process import LocalProcessEngine
from dicom_adapter.live import UNWELL_AFTER, Live
from dicom_adapter.manager.job_controller import JobController
from dicom_adapter.manager.results_poller import Polling, PollingState, ResultsPoller
from dicom_adapter.manager.supervisor import Supervisor, WorkerHealth
from dicom_adapter.scp.listener import Listener
from dicom_adapter.spool.spool import Spool
from dicom_adapter.store import batches, database, jobs, results_tasks
from tests.databases import fresh
from tests.fakes import AE, PIPELINE, snapshot


@dataclass
class FakeListener:
    listening: bool = True
    port: int = 104


@dataclass
class FakeSupervisor:
    health: dict[str, WorkerHealth] = field(default_factory=lambda: {"intake": WorkerHealth()})


class House:
    """A live view over a real spool and database."""

    def __init__(self, folder: Path) -> None:
        self.spool = Spool(folder)
        self.database = fresh(folder)
        self.listener = FakeListener()
        self.supervisor = FakeSupervisor()
        self.snapshot: ConfigSnapshot = snapshot()
        self.live = Live(
            settings=Settings.model_validate(
                {
                    "storage": {"reserve-space": 0, "watermark-percent": 100},
                    "services": {"platform-endpoint": "clara:50051"},
                }
            ),
            spool=self.spool,
            database=self.database,
            listener=cast(Listener, self.listener),
            supervisor=cast(Supervisor, self.supervisor),
            controller=cast(JobController, None),
            engines={"process": LocalProcessEngine(folder / "jobs", lambda _id: PIPELINE)},
            snapshot=lambda: self.snapshot,
        )


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.01)
    made = House(tmp_path)
    yield made
    made.database.close()
    made.spool.close()


def test_ready(house: House) -> None:
    assert house.live.not_ready() == []


def test_it_does_not_listen(house: House) -> None:
    house.listener.listening = False
    assert house.live.not_ready() == ["the SCP does not listen"]


def test_the_disk_is_too_full(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house.spool, "space", lambda: (1 << 40, 0))
    [reason] = house.live.not_ready()
    assert reason.startswith("too little free space: 0 MiB, and 0 MiB must stay free (`storage.reserve-space`")
    assert not house.live.storage().accepting


def test_nothing_can_be_written_to_the_database(house: House) -> None:
    with closing(sqlite3.connect(house.database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert house.live.not_ready() == ["the database cannot be written: database is locked"]
    assert house.live.not_ready() == []


def test_a_worker_that_keeps_failing(house: House) -> None:
    health = house.supervisor.health["intake"]
    health.failures, health.reason = UNWELL_AFTER - 1, "why"
    assert house.live.not_ready() == []
    health.failures = UNWELL_AFTER
    assert house.live.not_ready() == [f"intake failed {UNWELL_AFTER} times in a row: why"]


def test_where_the_logs_of_a_job_are_that_are_not_here(house: House) -> None:
    with house.database.write() as connection:
        batches.open_batch(connection, Batch("b", "LUNG", BatchState.CLOSED, 1000, AE))
        jobs.add(connection, Job("j", "n", "b", "p9", "x", "LUNG", JobState.QUEUED, 1, 1, 0, 1000), None)
    assert house.live.logs_elsewhere("j") is None
    assert house.live.logs_elsewhere("nothing") is None
    house.snapshot = replace(snapshot(), has_platform=True)
    assert house.live.logs_elsewhere("j") == "it is not on the Clara Platform at clara:50051 yet"
    with house.database.write() as connection:
        jobs.created(connection, "j", JobRef("0fcd", "3c9d"))
    assert house.live.logs_elsewhere("j") == (
        "it is job 0fcd of the Clara Platform at clara:50051: what its operators wrote is there"
    )
    assert house.live.log_files("j") == {}
    house.snapshot = snapshot()
    with house.database.write() as connection:
        jobs.canceled(connection, "j", 1001)
        jobs.mark_removed(connection, "j", 1001)
    assert house.live.logs_elsewhere("j") == "removed with the job's files (`storage.retention`)"


@pytest.mark.parametrize("configured", [True, False])
def test_the_logs_of_a_job_also_when_its_pipeline_is_configured_no_more(house: House, configured: bool) -> None:
    with house.database.write() as connection:
        batches.open_batch(connection, Batch("b", "LUNG", BatchState.CLOSED, 1000, AE))
        jobs.add(connection, Job("j", "n", "b", "p1", "x", "LUNG", JobState.QUEUED, 1, 1, 0, 1000), None)
    assert house.live.log_files("j") == {}  # not made yet
    with house.database.write() as connection:
        jobs.created(connection, "j", JobRef("j/1", "j/1"))
    if not configured:
        house.snapshot = snapshot(pipelines=[])
    assert sorted(house.live.log_files("j")) == ["stderr", "stdout"]
    assert house.live.log_files("nothing") == {}


def test_the_results_service_as_the_poller_sees_it(house: House) -> None:
    assert house.live.results_service() is None
    poller = cast(ResultsPoller, SimpleNamespace(state=PollingState(Polling.AWAY, 990.0, "it is down")))
    with house.database.write() as connection:
        results_tasks.add(connection, GivenTask("t", problem="why"), "r", [], "results/new/r", 1000)
    found = replace(house.live, poller=poller).results_service()
    assert found is not None
    assert (found.endpoint, found.agent) == ("http://localhost:50080", "ClaraSCU")
    assert (found.state, found.since, found.reason, found.unreported) == ("away", 990.0, "it is down", 1)
    assert replace(house.live, poller=poller).not_ready() == []  # it can take studies
