"""Results tasks in real processes: a platform, a Results Service, the adapter, and archives (contract 9.4)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from dicom_adapter.testing.results_service import Answer, TaskState
from tests.clara_site import ClaraSite, clara_site
from tests.end_to_end.test_trip import ct_series, send
from tests.interop.corpus import data_set_bytes, instance_of, syntax_of
from tests.interop.programs import storescp
from tests.peers import write_file
from tests.ports import free_port
from tests.waiting import PATIENCE, eventually

SUCCESS, FAILURE = "PUT /api/tasks/success", "PUT /api/tasks/failure"
MR = "1.3.6.1.4.1.5962.1.1.4.1.1.20040826185059.5457"  # four of the samples are one instance in several encodings

SAMPLES = (  # transfer syntaxes as the original's tests exported them
    "CT_small.dcm",  # Explicit VR Little Endian
    "MR_small_bigendian.dcm",  # Explicit VR Big Endian
    "MR_small_implicit.dcm",  # Implicit VR Little Endian
    "MR_small_jp2klossless.dcm",  # JPEG 2000, lossless
    "JPEG2000.dcm",  # JPEG 2000
    "MR_small_RLE.dcm",  # RLE Lossless
    "SC_rgb_jpeg_dcmtk.dcm",  # JPEG Baseline (Process 1)
    "JPEG-lossy.dcm",  # JPEG Extended (Process 2 and 4)
)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ClaraSite]:
    with clara_site(tmp_path) as site:
        yield site


def samples() -> dict[str, bytes]:
    """The samples, each an instance of its own; skipped where a package that ships one is missing."""
    files = {}
    for number, name in enumerate(SAMPLES, start=1):
        found = get_testdata_file(name, download=False)
        if found is None:
            pytest.skip(f"{name} is missing: pip install pydicom-data")
        files[name] = Path(found).read_bytes().replace(MR.encode(), f"{MR[:-1]}{number}".encode())
    return files


def small(folder: Path, *numbers: int) -> dict[str, bytes]:
    return {f"{number}.dcm": write_file(folder, number).read_bytes() for number in numbers}


def reported(task_state: TaskState) -> bool:
    return task_state not in (TaskState.PENDING, TaskState.IN_PROGRESS)


def test_eight_transfer_syntaxes_are_exported_as_they_are(site: ClaraSite, tmp_path: Path) -> None:
    files = samples()
    site.adapter.start()
    task = site.register(files)
    eventually(lambda: task.state is TaskState.SUCCEEDED)
    assert len(site.archive.received) == len(SAMPLES)
    for name, content in files.items():
        path = tmp_path / name
        path.write_bytes(content)
        received = tmp_path / f"received-{name}"
        received.write_bytes(site.archive.files[instance_of(path)])
        assert syntax_of(received) == syntax_of(path)
        assert data_set_bytes(received) == data_set_bytes(path), name
    assert (site.service.count(SUCCESS), site.service.count(FAILURE)) == (1, 0)
    found = eventually(lambda: one if (one := site.results_task(task))["reportedAt"] else None)
    assert found is not None
    assert (found["state"], found["files"], found["destinations"]) == ("succeeded", 8, ["PACS"])
    assert found["reportedAt"] >= found["endedAt"]
    assert [(export["state"], export["delivered"]) for export in found["exports"]] == [("succeeded", 8)]


@pytest.mark.interop
def test_dcmtk_receives_them_too(site: ClaraSite, tmp_path: Path) -> None:
    with storescp(tmp_path / "pacs") as port:
        destination = {"name": "DCMTK", "host-ip": "127.0.0.1", "port": port, "ae-title": "PACS"}
        site.configure(dicom={"scu": {"destinations": [destination]}})
        site.adapter.start()
        task = site.register(samples(), "dcmtk")
        eventually(lambda: task.state is TaskState.SUCCEEDED)
    assert len(list((tmp_path / "pacs").iterdir())) == len(SAMPLES)


@pytest.mark.parametrize("trouble", ["rejects", "refuses to store", "is not there", "aborts"])
def test_an_archive_in_trouble(site: ClaraSite, tmp_path: Path, trouble: str) -> None:
    """One report with a retry, three turns more, and then it is a dead letter."""
    if trouble == "aborts":
        context = storescp(tmp_path / "pacs", "--abort-during")
        port = context.__enter__()
    elif trouble == "is not there":
        port = free_port()
    else:
        port = site.archive.port
    site.archive.rejects = trouble == "rejects"
    site.archive.answer = 0xA700
    destination = {"name": "PACS", "host-ip": "127.0.0.1", "port": port, "ae-title": "ARCHIVE"}
    site.configure(dicom={"scu": {"destinations": [destination]}})
    site.adapter.start()
    task = site.register(small(tmp_path, 1, 2, 3))
    eventually(lambda: task.state is TaskState.FAILED, patience=90)
    assert (task.retries, site.service.count(FAILURE), site.service.count(SUCCESS)) == (3, 4, 0)
    found = site.results_task(task)
    assert (found["state"], found["exports"][0]["attempts"]) == ("failed", 4)
    assert "files failed" in found["reason"]
    if trouble == "aborts":
        context.__exit__(None, None, None)


def test_what_failed_is_sent_again_when_the_archive_is_well(site: ClaraSite, tmp_path: Path) -> None:
    site.configure(dicom={"scu": {"retry-delays": [1, 1, 1]}})
    site.archive.answer = 0xA700
    site.adapter.start()
    task = site.register(small(tmp_path, 1, 2, 3))
    eventually(lambda: task.retries == 1)
    site.archive.answer = 0x0000
    eventually(lambda: task.state is TaskState.SUCCEEDED)
    assert set(site.archive.received.values()) == {1}
    assert site.service.count(SUCCESS) == 1


def test_files_that_the_platform_does_not_have(site: ClaraSite, tmp_path: Path) -> None:
    site.adapter.start()
    task = site.register(small(tmp_path, 1))
    lost = site.service.add(task.agent, task.payload_id, ["dicom-op/lost.dcm"], "PACS", task.job_id)
    half = site.service.add(task.agent, task.payload_id, ["dicom-op/1.dcm", "../../../etc/passwd"], "PACS", task.job_id)
    eventually(lambda: all(reported(one.state) for one in (task, lost, half)))
    assert (task.state, lost.state, half.state) == (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.SUCCEEDED)
    [export] = site.results_task(half)["exports"]
    outcomes = site.adapter.get(f"/api/v1/exports/{export['id']}")["outcomes"]
    assert [one["state"] for one in outcomes] == ["delivered", "failed"]
    assert outcomes[1]["reason"] == "its name leads out of its payload"


def test_a_payload_with_other_things_in_it(site: ClaraSite, tmp_path: Path) -> None:
    files = small(tmp_path, 1, 2, 3) | {"report.json": b"{}", "empty.dcm": b"", "page.html": b"<html>" * 100}
    site.adapter.start()
    task = site.register(files)
    eventually(lambda: task.state is TaskState.SUCCEEDED)
    assert len(site.archive.received) == 3
    assert "3 of 6 files failed" in site.results_task(task)["reason"]


def test_an_unknown_destination_is_told_with_the_known_ones(site: ClaraSite, tmp_path: Path) -> None:
    site.adapter.start()
    unknown, none = site.register(small(tmp_path, 1), "NOWHERE"), site.register(small(tmp_path, 1), "{}")
    eventually(lambda: unknown.state is none.state is TaskState.FAILED)
    assert site.service.count(FAILURE) == 2
    assert "destination NOWHERE is not configured; configured: PACS" in site.adapter.log.read_text()
    assert not site.archive.received


def test_tasks_that_are_broken_cost_no_other(site: ClaraSite, tmp_path: Path) -> None:
    broken = site.service.add("ClaraSCU", "payload", ["a.dcm"], "PACS")
    broken.uris = [7]  # type: ignore[list-item]
    nameless = site.service.add("ClaraSCU", "payload", ["a.dcm"], "PACS")
    nameless.task_id = "no\nid"
    task = site.register(small(tmp_path, 1))
    site.adapter.start()
    eventually(lambda: task.state is TaskState.SUCCEEDED)
    eventually(lambda: broken.state is TaskState.FAILED)
    assert "have no usable taskId" in site.adapter.log.read_text()


def test_a_service_that_is_away_is_visible_and_comes_back(site: ClaraSite, tmp_path: Path) -> None:
    site.service.fault = lambda _method, _path: Answer(503, [b"<html>"])
    site.adapter.start()
    status = eventually(lambda: found if (found := site.adapter.get("/api/v1/status"))["resultsService"] else {})
    eventually(lambda: site.adapter.get("/api/v1/status")["resultsService"]["state"] == "away")
    status = site.adapter.get("/api/v1/status")
    assert status["ready"]
    assert "answers 503" in status["resultsService"]["reason"]
    assert site.adapter.get("/health/status")["services"]["results service"] == "Unknown"
    task = site.register(small(tmp_path, 1))
    site.service.fault = lambda _method, _path: None
    eventually(lambda: task.state is TaskState.SUCCEEDED)
    assert site.adapter.get("/api/v1/status")["resultsService"]["state"] == "polled"
    assert site.adapter.get("/api/v1/status")["resultsTasks"] == {"succeeded": 1}


def test_reports_wait_for_the_service(site: ClaraSite, tmp_path: Path) -> None:
    site.service.fault = lambda method, _path: Answer(500) if method == "PUT" else None
    site.adapter.start()
    task = site.register(small(tmp_path, 1))
    eventually(lambda: site.service.count(SUCCESS) >= 2)
    status = site.adapter.get("/api/v1/status")["resultsService"]
    assert (status["state"], status["unreported"]) == ("polled", 1)
    assert site.adapter.stop() == 0
    site.service.fault = lambda _method, _path: None
    site.adapter.start()
    eventually(lambda: task.state is TaskState.SUCCEEDED)
    assert set(site.archive.received.values()) == {1}


def test_a_stop_lets_an_answer_arrive(site: ClaraSite, tmp_path: Path) -> None:
    """The service has counted its tasks as handed out by then: an answer that nobody takes is lost."""
    asked = threading.Event()

    def slow(method: str, _path: str) -> None:
        if method == "GET":
            asked.set()
            time.sleep(1.0)

    task = site.register(small(tmp_path, 1))
    site.service.after = slow
    site.adapter.start()
    assert asked.wait(PATIENCE)
    assert site.adapter.stop() == 0
    assert task.state is TaskState.IN_PROGRESS
    site.adapter.start()
    eventually(lambda: task.state is TaskState.SUCCEEDED)


def test_without_a_named_service_none_is_polled(site: ClaraSite) -> None:
    site.adapter.configure({**site.config, "services": {"platform-endpoint": site.platform.endpoint}})
    site.adapter.start()
    assert site.adapter.get("/api/v1/status")["resultsService"] is None
    assert site.service.calls == []


def test_a_service_named_by_the_environment(site: ClaraSite, tmp_path: Path) -> None:
    host, port = site.config["services"]["results-service-endpoint"].removeprefix("http://").split(":")
    site.configure(services=None)
    site.configure(services={"platform-endpoint": site.platform.endpoint})
    site.adapter.start({"CLARA_RESULTSSERVICE_SERVICE_HOST": host, "CLARA_RESULTSSERVICE_SERVICE_PORT": port})
    task = site.register(small(tmp_path, 1))
    eventually(lambda: task.state is TaskState.SUCCEEDED)


def test_a_person_tries_a_dead_letter_again(site: ClaraSite, tmp_path: Path) -> None:
    site.configure(dicom={"scu": {"retry-delays": []}})
    site.archive.answer = 0x0110
    site.adapter.start()
    task = site.register(small(tmp_path, 1))
    eventually(lambda: task.state is TaskState.FAILED)
    eventually(lambda: site.results_task(task)["reportedAt"])
    site.archive.answer = 0x0000
    [export] = site.results_task(task)["exports"]
    assert site.adapter.post(f"/api/v1/exports/{export['id']}/retry") == 200
    eventually(lambda: task.state is TaskState.SUCCEEDED)
    assert site.adapter.post(f"/api/v1/exports/{export['id']}/retry") == 409


def test_files_leave_the_disk_after_the_report(site: ClaraSite, tmp_path: Path) -> None:
    site.configure(storage={"retention": 0})
    site.adapter.start()
    task = site.register(small(tmp_path, 1))
    eventually(lambda: task.state is TaskState.SUCCEEDED)
    eventually(lambda: not any((site.adapter.storage / "results").rglob("*.dcm")))
    assert site.results_task(task)["state"] == "succeeded"


def test_the_whole_trip_of_a_study(site: ClaraSite) -> None:
    """A modality, the adapter, the platform, the Results Service, the adapter, the archive."""
    slices = ct_series(3)
    site.adapter.start()
    assert send(site.adapter.port, slices) == [0, 0, 0]
    site.adapter.wait_for("jobs", "succeeded")
    task = site.register_results()
    eventually(lambda: task.state is TaskState.SUCCEEDED)
    assert len(site.archive.received) == 3
    assert site.archive.received.keys().isdisjoint(one.SOPInstanceUID for one in slices)
    study = site.adapter.get(f"/api/v1/studies/{slices[0].StudyInstanceUID}")
    assert study["stage"] == "done"
    assert [one["kind"] for one in study["timeline"]] == ["association", "batch", "job", "results task", "export"]
    assert study["timeline"][-1]["text"] == "3 of 3 files delivered to PACS"


def test_another_patient_goes_to_no_archive(site: ClaraSite) -> None:
    """The task is about a job of ours, so its files have to fit the batch."""
    site.adapter.start()
    assert send(site.adapter.port, ct_series(2)) == [0, 0]
    site.adapter.wait_for("jobs", "succeeded")
    [job] = eventually(lambda: site.platform.platform.jobs)
    for path in site.platform.platform.files(job.payload_id).values():
        if path.parent.name == "output":
            instance = pydicom.dcmread(path)
            instance.PatientID = "CANARY-2"
            instance.save_as(path)
    task = site.register_results()
    eventually(lambda: task.state is not TaskState.PENDING and site.service.count(FAILURE))
    # It may be tried again meanwhile, and then has no reason for a moment.
    eventually(lambda: "in quarantine: its patient differs" in (site.results_task(task)["reason"] or ""))
    assert not site.archive.received
    assert "CANARY" not in site.adapter.log.read_text()
