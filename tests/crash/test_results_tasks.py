"""kill -9 at every step of a results task: nothing is lost, and what is recorded as sent is not sent again."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_adapter.crash_points import CRASH_POINTS, VARIABLE
from dicom_adapter.testing.results_service import Task, TaskState
from tests.clara_site import ClaraSite, clara_site
from tests.peers import write_file
from tests.waiting import eventually

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

FILES = 3
POINTS = [name for name in CRASH_POINTS if name.startswith(("results_task.", "download.", "export."))]
SENT_AND_RECORDED = ("export.after_commit", "results_task.before_report", "results_task.after_report")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ClaraSite]:
    with clara_site(tmp_path) as site:
        yield site


def register(site: ClaraSite, folder: Path) -> Task:
    return site.register({f"{number}.dcm": write_file(folder, number).read_bytes() for number in range(1, FILES + 1)})


def died(site: ClaraSite) -> None:
    assert site.adapter.wait() == -signal.SIGKILL


def check(site: ClaraSite, task: Task, deaths_while_sending: int = 0) -> None:
    """The task arrived, whole, and the service knows."""
    eventually(lambda: task.state is TaskState.SUCCEEDED)
    eventually(lambda: site.results_task(task)["reportedAt"])
    assert len(site.archive.received) == FILES
    assert max(site.archive.received.values()) <= 1 + deaths_while_sending
    assert (task.retries, site.service.count("PUT /api/tasks/failure")) == (0, 0)


@pytest.mark.parametrize("point", POINTS)
def test_a_death_at_a_step(site: ClaraSite, tmp_path: Path, point: str) -> None:
    task = register(site, tmp_path)
    site.adapter.start({VARIABLE: point}, wait=False)
    died(site)
    sent = dict(site.archive.received)
    if point in SENT_AND_RECORDED:
        assert sum(sent.values()) == FILES
    site.adapter.start()
    check(site, task, deaths_while_sending=int(point == "export.after_response"))
    if point in SENT_AND_RECORDED:
        assert site.archive.received == sent
    reports = site.service.count("PUT /api/tasks/success")
    assert reports == (2 if point == "results_task.after_report" else 1)


def test_a_death_at_every_step_of_one_task(site: ClaraSite, tmp_path: Path) -> None:
    task = register(site, tmp_path)
    for point in POINTS:
        site.adapter.start({VARIABLE: point}, wait=False)
        died(site)
    site.adapter.start()
    check(site, task, deaths_while_sending=2)


def test_a_death_before_a_failure_is_reported(site: ClaraSite, tmp_path: Path) -> None:
    """It is reported once, comes again, and only then is sent again."""
    task = register(site, tmp_path)
    site.archive.answer = 0xA700
    site.adapter.start({VARIABLE: "results_task.before_report"}, wait=False)
    died(site)
    assert task.state is TaskState.IN_PROGRESS
    site.archive.answer = 0x0000
    site.adapter.start()
    eventually(lambda: task.state is TaskState.SUCCEEDED)
    assert (task.retries, site.service.count("PUT /api/tasks/failure")) == (1, 1)
    assert set(site.archive.received.values()) == {1}


def test_a_death_after_a_failure_was_reported(site: ClaraSite, tmp_path: Path) -> None:
    """The service gives it again, counted: that says that it has the report."""
    task = register(site, tmp_path)
    site.archive.answer = 0xA700
    site.adapter.start({VARIABLE: "results_task.after_report"}, wait=False)
    died(site)
    assert (task.state, task.retries) == (TaskState.PENDING, 1)
    site.archive.answer = 0x0000
    site.adapter.start()
    eventually(lambda: task.state is TaskState.SUCCEEDED)
    assert task.retries in (1, 2)  # whoever is first, poller or reporter: either way it is sent once
    assert set(site.archive.received.values()) == {1}


def test_parts_of_downloads_do_not_stay(site: ClaraSite, tmp_path: Path) -> None:
    task = register(site, tmp_path)
    site.adapter.start({VARIABLE: "download.after_rename:2"}, wait=False)
    died(site)
    results = site.adapter.storage / "results"
    assert len(list((results / "new").rglob("*.dcm"))) == 2
    calls = site.platform.calls["Payloads/Download"]
    site.adapter.start()
    check(site, task)
    assert site.platform.calls["Payloads/Download"] == calls + 1  # what is here is not fetched again
    assert not list((results / "tmp").iterdir())
