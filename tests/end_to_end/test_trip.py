"""The whole trip in real processes: a pynetdicom modality, the adapter, a pipeline, a pynetdicom PACS."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context

from dicom_adapter.cli.outcome import ExitCode
from dicom_adapter.scu.requestor import Peer, RequestorSettings, associate, propose_each
from tests.adapter_process import AdapterProcess, configuration, merged
from tests.interop import programs
from tests.peers import CT, EXPLICIT, data_set
from tests.ports import free_port
from tests.scp_harness import store
from tests.waiting import eventually

COPY = """
import json, pathlib, sys, pydicom
from pydicom.uid import generate_uid
source, target = map(pathlib.Path, sys.argv[1:])
job = json.loads((source / "job.json").read_text())
print("series", len(job["series"]))
print("a warning", file=sys.stderr)
for file in sorted(source.glob("*.dcm")):
    dataset = pydicom.dcmread(file)
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[dataset.SeriesInstanceUID, "copy"])
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[dataset.SOPInstanceUID, "copy"])
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(target / file.name)
"""


class Pacs:
    """A pynetdicom Storage SCP; `answer` is the status it gives."""

    def __init__(self, port: int) -> None:
        self.received: list[FileDataset] = []
        self.answer = 0x0000
        self.associations = 0
        entity = AE("ARCHIVE")
        context = build_context("1.2.840.10008.5.1.4.1.1.2", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"])
        entity.supported_contexts = [context]
        handlers: Any = [(evt.EVT_C_STORE, self._store), (evt.EVT_ACCEPTED, self._accepted)]
        self.port = port
        self._server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)

    def _accepted(self, _event: Any) -> None:
        self.associations += 1

    def _store(self, event: Any) -> int:
        if self.answer < 0xA000 or self.answer >= 0xD000:
            dataset = event.dataset
            dataset.file_meta = event.file_meta
            self.received.append(dataset)
        return self.answer

    def close(self) -> None:
        assert self._server is not None
        self._server.shutdown()


def ct_series(count: int, study: str | None = None) -> list[FileDataset]:
    """Real CT slices of one study, told apart by their UIDs."""
    source = str(get_testdata_file("CT_small.dcm"))
    study, series = study or generate_uid(), generate_uid()
    slices = []
    for _ in range(count):
        one = pydicom.dcmread(source)
        one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID = study, series, generate_uid()
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        slices.append(one)
    return slices


def send(port: int, slices: Sequence[FileDataset], called: str = "LUNG", *, abort: bool = False) -> list[int]:
    """C-STORE each slice in one association, then release or abort it; answers with the statuses."""
    entity = AE("CT1")
    entity.add_requested_context("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")
    association = entity.associate("127.0.0.1", port, ae_title=called)
    assert association.is_established
    statuses = [int(association.send_c_store(one).Status) for one in slices]
    if abort:
        association.abort()
    else:
        association.release()
    return statuses


def process(script: str, **more: Any) -> dict[str, Any]:
    """A pipeline entry that runs a Python script."""
    command = [sys.executable, "-c", script, "{input}", "{output}"]
    return {"id": "p1", "name": "copy", "command": command, "destinations": ["PACS"], **more}


def house(folder: Path, pacs_port: int, pipeline: dict[str, Any], **sections: Any) -> AdapterProcess:
    destination = {"name": "PACS", "host-ip": "127.0.0.1", "port": pacs_port, "ae-title": "ARCHIVE"}
    base = {
        "dicom": {"scu": {"destinations": [destination]}},
        "pipelines": [pipeline],
        "pipeline-mappings": [{"name": "copy", "clara-ae-title": "LUNG", "pipeline-id": "p1"}],
    }
    return AdapterProcess(folder, merged(configuration(**base), sections))


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    made = Pacs(free_port())
    yield made
    made.close()


@pytest.fixture
def pacs_port(pacs: Pacs) -> int:
    return pacs.port


def test_a_study_goes_all_the_way(tmp_path: Path, pacs: Pacs, pacs_port: int) -> None:
    adapter = house(tmp_path, pacs_port, process(COPY)).start()
    try:
        slices = ct_series(3)
        assert send(adapter.port, slices) == [0, 0, 0]
        [export] = adapter.wait_for("exports", "succeeded")
        assert (export["files"], export["delivered"]) == (3, 3)
        assert pacs.associations == 1
        study = slices[0].StudyInstanceUID
        assert {one.StudyInstanceUID for one in pacs.received} == {study}
        assert not {one.SOPInstanceUID for one in pacs.received} & {one.SOPInstanceUID for one in slices}
        found = adapter.get(f"/api/v1/studies/{study}")
        assert (found["stage"], found["waits"], found["instances"]) == ("done", None, 3)
        assert [one["kind"] for one in found["timeline"]] == ["association", "batch", "job", "export"]
        assert all(one["duration"] is not None for one in found["timeline"])
        [job] = adapter.items("jobs")
        logs = adapter.get(f"/api/v1/jobs/{job['id']}/logs")
        assert (logs["stdout"], logs["stderr"]) == ("series 1\n", "a warning\n")
        assert adapter.stop() == 0
        assert str(slices[0].PatientName) not in adapter.log.read_text()
    finally:
        adapter.close()


def test_results_that_do_not_belong_go_to_quarantine(tmp_path: Path, pacs: Pacs, pacs_port: int) -> None:
    script = """
import pathlib, shutil, sys, pydicom
source, target = map(pathlib.Path, sys.argv[1:])
first = sorted(source.glob("*.dcm"))[0]
shutil.copy(first, target / "same.dcm")
(target / "report.txt").write_text("no DICOM")
changes = {"patient": {"PatientID": "SOMEBODY ELSE"}, "study": {"StudyInstanceUID": "1.2.3"}, "good": {}}
for name, change in changes.items():
    dataset = pydicom.dcmread(first)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    for key, value in change.items():
        setattr(dataset, key, value)
    dataset.save_as(target / f"{name}.dcm")
"""
    adapter = house(tmp_path, pacs_port, process(script)).start()
    try:
        send(adapter.port, ct_series(1))
        [export] = adapter.wait_for("exports", "succeeded")
        assert export["files"] == 1
        job = adapter.get(f"/api/v1/jobs/{adapter.items('jobs')[0]['id']}")
        reasons = " | ".join(sorted(one["reason"] for one in job["quarantinedFiles"]))
        assert len(job["quarantinedFiles"]) == 4
        for words in (
            "not DICOM",
            "SOP Instance UID of an instance of the batch",
            "patient differs",
            "study is not in",
        ):
            assert words in reasons
        assert all((adapter.storage / one["path"]).exists() for one in job["quarantinedFiles"])
        assert "SOMEBODY" not in adapter.log.read_text() + reasons
    finally:
        adapter.close()


def test_a_failing_pipeline_is_retried_and_then_a_dead_letter(tmp_path: Path, pacs_port: int) -> None:
    adapter = house(tmp_path, pacs_port, process("import sys; print('oh'); sys.exit(3)", retries=0)).start()
    try:
        slices = ct_series(1)
        send(adapter.port, slices)
        [job] = adapter.wait_for("jobs", "failed")
        assert "exit status 3" in job["reason"]
        assert "clara dicom retry" in adapter.get(f"/api/v1/studies/{slices[0].StudyInstanceUID}")["waits"]
        assert adapter.post(f"/api/v1/jobs/{job['id']}/retry") == 200
        eventually(lambda: [one for one in adapter.items("jobs") if (one["state"], one["attempt"]) == ("failed", 2)])
        assert adapter.get(f"/api/v1/jobs/{job['id']}/logs")["stdout"] == "oh\n"
    finally:
        adapter.close()


def test_a_pacs_that_is_away_and_comes_back(tmp_path: Path) -> None:
    port = free_port()
    adapter = house(tmp_path, port, process(COPY)).start()
    try:
        send(adapter.port, ct_series(2))
        [dead] = adapter.wait_for("exports", "failed")
        assert (dead["attempts"], dead["filesFailed"]) == (4, 2)
        back = Pacs(port)
        try:
            assert adapter.post(f"/api/v1/exports/{dead['id']}/retry") == 200
            adapter.wait_for("exports", "succeeded")
            assert len(back.received) == 2
        finally:
            back.close()
    finally:
        adapter.close()


def test_a_warning_counts_as_delivered_and_is_listed(tmp_path: Path, pacs: Pacs, pacs_port: int) -> None:
    pacs.answer = 0xB000
    adapter = house(tmp_path, pacs_port, process(COPY)).start()
    try:
        send(adapter.port, ct_series(1))
        [export] = adapter.wait_for("exports", "succeeded")
        detail = adapter.get(f"/api/v1/exports/{export['id']}")
        assert [(one["state"], one["status"]) for one in detail["outcomes"]] == [("warning", "B000H")]
    finally:
        adapter.close()


def sliding(timeout: int) -> dict[str, Any]:
    return {"scp": {"ae-titles": [{"ae-title": "LUNG", "timeout": timeout}]}}


def _file(folder: Path, image: FileDataset) -> str:
    path = folder / f"{image.SOPInstanceUID}.dcm"
    image.save_as(path)
    return str(path)


@pytest.mark.interop
def test_one_study_over_five_associations_is_one_job(tmp_path: Path, pacs: Pacs, pacs_port: int) -> None:
    workers = {"scp": {"worker-processes": 2}}
    adapter = house(tmp_path, pacs_port, process(COPY), dicom=merged(sliding(2), workers))
    adapter.start()
    try:
        port = adapter.port
        parts = [[_file(tmp_path, one) for one in ct_series(2)] for _ in range(5)]
        with ThreadPoolExecutor(5) as senders:  # as processes: five of pynetdicom in one now and then lose a response
            to = ("-aet", "CT1", "-aec", "LUNG", "127.0.0.1", str(port))
            ran = list(senders.map(lambda files: programs.run("storescu", *to, *files), parts))
        assert [one.returncode for one in ran] == [0] * 5
        [batch] = eventually(lambda: adapter.items("batches"))
        assert batch["state"] == "collecting"
        [export] = adapter.wait_for("exports", "succeeded")
        assert export["files"] == 10
        assert len(adapter.items("jobs")) == 1
    finally:
        adapter.close()


def test_an_aborted_association_never_reaches_a_pipeline(tmp_path: Path, pacs_port: int) -> None:
    adapter = house(tmp_path, pacs_port, process(COPY), storage={"aborted-retention": 0}).start()
    try:
        slices = ct_series(2)
        assert send(adapter.port, slices, abort=True) == [0, 0]
        eventually(lambda: [one for one in adapter.items("associations") if one["outcome"] == "aborted"])
        assert adapter.items("batches") == []
        found = adapter.get(f"/api/v1/studies/{slices[0].StudyInstanceUID}")
        assert found["stage"] == "set aside"
        eventually(lambda: not list((adapter.storage / "spool" / "new").iterdir()))
    finally:
        adapter.close()


def test_what_was_refused_is_told_for_as_long_as_the_facts_are_kept(tmp_path: Path, pacs_port: int) -> None:
    adapter = house(tmp_path, pacs_port, process(COPY)).start()

    def send_pairs(*pairs: tuple[str, str]) -> list[int | None]:
        """Each data set with its SOP Instance UID under the one that its command names."""
        peer = Peer("LUNG", "127.0.0.1", adapter.port)
        with closing(
            associate(RequestorSettings("CT1", "1.2.3", "TEST"), peer, propose_each([(CT, EXPLICIT)]))
        ) as connection:
            answers = [
                store(connection, tmp_path, data_set(CT, uid), sop_instance=named, message_id=number).status
                for number, (uid, named) in enumerate(pairs, start=1)
            ]
            connection.release()
        return answers

    try:
        assert send_pairs(("1.2.3.1", "1.2.3.1"), ("1.2.3.2", "1.2.3.9")) == [0x0000, 0xA900]
        adapter.wait_for("exports", "succeeded")
        why = "A900H Error: data set does not match SOP Class (SOP Instance UID of data set and command differ)"
        [association] = adapter.items("associations")
        assert (association["instances"], association["refused"], association["refusedWhy"]) == (1, 1, why)
        study = adapter.get("/api/v1/studies/1.2.3")
        told = f"refused in its associations: 1 instance that has not come since, the last with {why}"
        assert (study["stage"], study["waits"]) == ("done", told)
        assert study["timeline"][0]["text"].endswith(f"sent 1 instance to LUNG; 1 refused, the last with {why}")
        [refusals] = adapter.items("rejections")
        assert (refusals["callingAeTitle"], refusals["answer"], refusals["times"]) == ("CT1", why.partition(" (")[0], 1)
        assert send_pairs(("1.2.3.9", "1.2.3.9")) == [0x0000]  # again, and right
        eventually(lambda: [export["state"] for export in adapter.items("exports")] == ["succeeded"] * 2)
        study = adapter.get("/api/v1/studies/1.2.3")
        assert (study["stage"], study["waits"]) == ("done", None)
    finally:
        adapter.close()


def test_finished_work_leaves_the_disk(tmp_path: Path, pacs: Pacs, pacs_port: int) -> None:
    adapter = house(tmp_path, pacs_port, process(COPY), storage={"retention": 0}).start()
    try:
        send(adapter.port, ct_series(2))
        adapter.wait_for("exports", "succeeded")
        eventually(lambda: not _dicom_files(adapter.storage))
        assert len(adapter.items("jobs")) == 1  # the facts stay
        assert not list((adapter.storage / "jobs").iterdir())
    finally:
        adapter.close()


def _dicom_files(folder: Path) -> list[str]:
    """Unlike Path.rglob, os.walk passes by a folder that is removed while it looks."""
    return [name for _, _, names in os.walk(folder) for name in names if name.endswith(".dcm")]


def test_sigterm_drains(tmp_path: Path, pacs_port: int) -> None:
    """An open association finishes within the grace time; nobody new is let in; the state is kept."""
    adapter = house(tmp_path, pacs_port, process(COPY)).start()
    try:
        port = adapter.port
        entity = AE("CT1")
        entity.add_requested_context("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")
        association = entity.associate("127.0.0.1", port, ae_title="LUNG")
        first, second = ct_series(2)
        assert association.send_c_store(first).Status == 0
        os.kill(adapter.pid, signal.SIGTERM)
        eventually(lambda: _refuses_connections(port))
        assert association.send_c_store(second).Status == 0
        association.release()
        assert adapter.wait() == 0
        adapter.start()
        [job] = adapter.wait_for("jobs", "succeeded")
        assert adapter.items("associations")[0]["instances"] == 2
        assert job["attempt"] == 1
    finally:
        adapter.close()


def _refuses_connections(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it waited to be accepted when the listener closed
        return False
    return False


def test_two_adapters_on_one_storage_folder(tmp_path: Path, pacs_port: int) -> None:
    adapter = house(tmp_path, pacs_port, process(COPY)).start()
    other = house(tmp_path / "other", pacs_port, process(COPY), storage={"temporary": str(adapter.storage)})
    try:
        other.start(wait=False)
        assert other.wait() == ExitCode.ALREADY_RUNNING
        assert f"already running (process {adapter.pid}" in other.log.read_text()
        assert adapter.get("/health/ready")["status"] == "Healthy"
    finally:
        adapter.close()
        other.close()


def test_a_taken_port_is_told_in_words(tmp_path: Path, pacs_port: int) -> None:
    adapter = house(tmp_path, pacs_port, process(COPY), dicom={"scp": {"port": pacs_port}})
    try:
        adapter.start(wait=False)
        assert adapter.wait() == ExitCode.FAILED
        assert str(pacs_port) in adapter.log.read_text().splitlines()[-1]
        assert "Traceback" not in adapter.log.read_text()
    finally:
        adapter.close()


def test_a_second_signal_and_a_hang_up_do_no_harm(tmp_path: Path, pacs_port: int) -> None:
    adapter = house(tmp_path, pacs_port, process(COPY)).start()
    try:
        os.kill(adapter.pid, signal.SIGHUP)
        assert adapter.get("/health/live") == "Healthy"
        os.kill(adapter.pid, signal.SIGTERM)
        os.kill(adapter.pid, signal.SIGTERM)
        assert adapter.wait() == 0
        assert "Traceback" not in adapter.log.read_text()
    finally:
        adapter.close()


def test_a_processor_that_hangs_holds_up_neither_others_nor_the_stop(tmp_path: Path, pacs_port: int) -> None:
    hanging = min(32, (os.cpu_count() or 1) + 4)  # the threads that asyncio has for all
    titles = [{"ae-title": f"HANG{number}", "processors": ["tests.plugins:Hanging"]} for number in range(hanging)]
    adapter = house(tmp_path, pacs_port, process(COPY), dicom={"scp": {"ae-titles": [*titles, {"ae-title": "LUNG"}]}})
    try:
        adapter.start()
        for title in titles:
            send(adapter.port, ct_series(1), called=str(title["ae-title"]))
        eventually(lambda: len(adapter.items("batches")) == hanging)
        send(adapter.port, ct_series(1))
        adapter.wait_for("jobs", "succeeded")
        os.kill(adapter.pid, signal.SIGTERM)
        assert adapter.wait() == 0
        log = adapter.log.read_text()
        assert log.count("a processor still runs") == hanging
        assert "Traceback" not in log
    finally:
        adapter.close()


def test_a_running_job_survives_the_adapter(tmp_path: Path, pacs: Pacs, pacs_port: int) -> None:
    """kill -9 while the pipeline runs: it is adopted, runs once, and its results are delivered."""
    script = f"import time; time.sleep(3)\n{COPY}\nopen({str(tmp_path / 'runs')!r}, 'a').write('x')"
    adapter = house(tmp_path, pacs_port, process(script)).start()
    try:
        send(adapter.port, ct_series(1))
        adapter.wait_for("jobs", "started")
        adapter.kill()
        adapter.start()
        [export] = adapter.wait_for("exports", "succeeded")
        assert export["delivered"] == 1
        assert (tmp_path / "runs").read_text() == "x"
        assert adapter.items("jobs")[0]["attempt"] == 1
    finally:
        adapter.close()


def test_dcmtk_sees_why_it_is_rejected(tmp_path: Path, pacs_port: int) -> None:
    adapter = house(tmp_path, pacs_port, process(COPY)).start()
    try:
        told = programs.run("echoscu", "-v", "-aec", "NOBODY", "127.0.0.1", str(adapter.port))
        assert "Called AE Title Not Recognized" in told.stdout + told.stderr
    finally:
        adapter.close()
