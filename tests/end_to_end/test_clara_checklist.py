"""The scenarios of the original's own integration tests (contract 9.1), over a real adapter process."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset
from pydicom.uid import generate_uid
from typer.testing import CliRunner

from dicom_adapter.cli.app import clara_program
from tests import scanner
from tests.adapter_process import AdapterProcess, configuration
from tests.interop import programs
from tests.waiting import PATIENCE, eventually

COUNT = "import os, sys; print(sum(name.endswith('.dcm') for name in os.listdir(sys.argv[1])), 'files')"


def pipeline(name: str) -> dict[str, Any]:
    return {"id": name, "command": [sys.executable, "-c", COUNT, "{input}"], "concurrency": 2}


def slices(count: int, patient: str, study: str) -> list[FileDataset]:
    """CT slices of one study of a patient."""
    found = []
    series = generate_uid(entropy_srcs=[study, "series"])
    for number in range(count):
        one = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
        one.PatientID, one.StudyInstanceUID, one.SeriesInstanceUID = patient, study, series
        one.SOPInstanceUID = generate_uid(entropy_srcs=[study, str(number)])
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        found.append(one)
    return found


def send(port: int, calling: str, called: str, images: Sequence[FileDataset]) -> list[int] | str:
    """C-STORE each image in one association: the statuses, or why there was none."""
    association = scanner.associate(port, calling, called)
    if isinstance(association, str):
        return association
    statuses = [int(association.send_c_store(image).Status) for image in images]
    association.release()
    return statuses


@contextmanager
def running(folder: Path, config: Mapping[str, Any]) -> Iterator[AdapterProcess]:
    adapter = AdapterProcess(folder, config)
    try:
        yield adapter.start()
    finally:
        adapter.close()


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdapterProcess]:
    """An adapter that knows one source and one AE Title."""
    scp = {"reject-unknown-sources": True, "sources": [{"ae-title": "CT1", "host-ip": "127.0.0.1"}]}
    mapping = {"name": "count", "clara-ae-title": "LUNG"}
    config = configuration(dicom={"scp": scp}, **{"pipeline-mappings": [mapping], "pipelines": [pipeline("count")]})
    with running(tmp_path_factory.mktemp("listed"), config) as adapter:
        yield adapter


@pytest.mark.interop
@pytest.mark.parametrize(
    ("calling", "called", "words"),
    [
        ("NOBODY", "LUNG", "Calling AE Title Not Recognized"),
        ("CT1", "NOBODY", "Called AE Title Not Recognized"),
        ("CT1", "LUNG", None),
    ],
)
@pytest.mark.parametrize("program", ["storescu", "echoscu"])
def test_dcmtk_is_told_why(listed: AdapterProcess, program: str, calling: str, called: str, words: str | None) -> None:
    files = [str(get_testdata_file("CT_small.dcm"))] if program == "storescu" else []
    ran = programs.run(program, "-v", "-aet", calling, "-aec", called, "127.0.0.1", str(listed.port), *files)
    assert ran.returncode == (0 if words is None else 1)
    if words is not None:
        assert words in ran.stdout + ran.stderr
    assert listed.get("/health/live") == "Healthy"


def written(folder: Path, images: Sequence[FileDataset]) -> list[str]:
    paths = []
    for image in images:
        paths.append(str(folder / f"{image.SOPInstanceUID}.dcm"))
        image.save_as(paths[-1])
    return paths


STUDIES = [("A", "1.2.1"), ("A", "1.2.2"), ("B", "1.2.3"), ("B", "1.2.4")]


@pytest.mark.interop
def test_two_patients_with_two_studies_each_over_eight_associations_at_once(tmp_path: Path) -> None:
    """By study with one pipeline 4 jobs, by patient with two pipelines 4; every file is in three jobs."""
    titles = {"BYSTUDY": "0020,000D", "BYPATIENT": "0010,0020"}
    entries = [
        {"ae-title": title, "timeout": 2, "processor-settings": {"groupBy": tag}} for title, tag in titles.items()
    ]
    mapped = {"one": "BYSTUDY", "two": "BYPATIENT", "three": "BYPATIENT"}
    config = configuration(
        dicom={"scp": {"max-associations": 8, "worker-processes": 2, "ae-titles": entries}},
        **{
            "pipeline-mappings": [{"name": name, "clara-ae-title": title} for name, title in mapped.items()],
            "pipelines": [pipeline(name) for name in mapped],
        },
    )
    studies = {study: written(tmp_path, slices(3, patient, study)) for patient, study in STUDIES}
    with running(tmp_path / "house", config) as adapter:
        to = ("-aet", "CT1", "127.0.0.1", str(adapter.port))
        deliveries = [(*to, "-aec", called, *files) for called in titles for files in studies.values()]
        with ThreadPoolExecutor(len(deliveries)) as senders:
            ran = list(senders.map(lambda arguments: programs.run("storescu", *arguments), deliveries))
        assert [(one.returncode, one.stderr) for one in ran] == [(0, "")] * 8
        jobs = adapter.wait_for("jobs", "succeeded", count=8)
        assert len(adapter.items("jobs")) == 8
        assert sorted(job["pipelineName"] for job in jobs) == ["one"] * 4 + ["three"] * 2 + ["two"] * 2
        printed = [adapter.get(f"/api/v1/jobs/{job['id']}/logs")["stdout"] for job in jobs]
        assert sum(int(text.split()[0]) for text in printed) == 3 * 3 * len(STUDIES)


def call(adapter: AdapterProcess, method: str, path: str, body: object = None) -> Any:
    headers = {"Content-Type": "application/json"}
    answer = httpx2.request(method, f"{adapter.api}/api/config/{path}", json=body, headers=headers, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    return answer.json()


def count(adapter: AdapterProcess, path: str) -> int:
    return len(call(adapter, "GET", path)["items"])


@pytest.fixture
def adapter(tmp_path: Path) -> Iterator[AdapterProcess]:
    """An adapter whose AE Titles, sources and destinations are resources; there is none yet."""
    scp = {
        "read-aetitles-from-crd": True,
        "read-sources-from-crd": True,
        "ae-titles": [],
        "reject-unknown-sources": True,
    }
    config = configuration(
        dicom={"scp": scp, "scu": {"read-destinations-from-crd": True}}, pipelines=[pipeline("count")]
    )
    with running(tmp_path, config) as found:
        yield found


def test_changes_while_it_runs(adapter: AdapterProcess) -> None:
    """The original's scenario, in its order; what an AE Title receives after it was made again is one job, not two."""
    port = adapter.port
    three = slices(3, "A", "1.2.1")
    assert send(port, "CT1", "BRAIN", three) == scanner.CALLING

    call(adapter, "POST", "sourceaetitle", {"aeTitle": "CT1", "hostIp": "127.0.0.1"})
    eventually(lambda: send(port, "CT1", "BRAIN", three) == scanner.CALLED)
    assert count(adapter, "sourceaetitle") == 1

    brain = {"name": "brain", "aeTitle": "BRAIN", "pipelineId": "count"}
    call(adapter, "POST", "claraaetitle", brain)
    eventually(lambda: send(port, "CT1", "BRAIN", []) == [])
    assert send(port, "CT1", "BRAIN", three) == [0, 0, 0]
    adapter.wait_for("jobs", "succeeded")

    call(adapter, "POST", "sourceaetitle", {"aeTitle": "CT2", "hostIp": "127.0.0.1"})
    eventually(lambda: send(port, "CT2", "BRAIN", []) == [])
    assert count(adapter, "sourceaetitle") == 2
    call(adapter, "DELETE", "sourceaetitle/ct1")
    eventually(lambda: send(port, "CT1", "BRAIN", []) == scanner.CALLING)
    assert count(adapter, "sourceaetitle") == 1

    call(adapter, "DELETE", "claraaetitle/brain")
    eventually(lambda: send(port, "CT2", "BRAIN", []) == scanner.CALLED)
    call(adapter, "POST", "claraaetitle", {"name": "liver", "aeTitle": "LIVER", "pipelineId": "count"})
    eventually(lambda: send(port, "CT2", "LIVER", []) == [])
    assert send(port, "CT2", "BRAIN", []) == scanner.CALLED

    call(adapter, "POST", "claraaetitle", brain)
    eventually(lambda: send(port, "CT2", "BRAIN", []) == [])
    assert count(adapter, "claraaetitle") == 2
    before = len(adapter.items("jobs"))
    assert send(port, "CT2", "BRAIN", slices(2, "B", "1.2.9")) == [0, 0]
    adapter.wait_for("jobs", "succeeded", count=before + 1)
    assert len(adapter.items("jobs")) == before + 1

    for number in (1, 2, 3):
        call(
            adapter,
            "POST",
            "destinationaetitle",
            {"name": f"pacs{number}", "aeTitle": "PACS", "hostIp": "192.0.2.8", "port": 104},
        )
        assert count(adapter, "destinationaetitle") == number
    for number in (1, 3):
        call(adapter, "DELETE", f"destinationaetitle/pacs{number}")
    assert [item["spec"]["name"] for item in call(adapter, "GET", "destinationaetitle")["items"]] == ["pacs2"]


@pytest.mark.parametrize("script", ["monai_0.4", "clara_0.8.2"])
def test_an_import_is_in_force_at_once(adapter: AdapterProcess, tmp_path: Path, script: str) -> None:
    """What the command takes from a database the SCP answers to, with no restart; again, it changes nothing."""
    fixtures = Path(__file__).parents[1] / "fixtures" / "migration" / "databases"
    with closing(sqlite3.connect(tmp_path / "old.db")) as made:
        made.executescript((fixtures / f"{script}.sql").read_text())
    command = ["dicom", "config", "import", str(tmp_path / "old.db"), "--api", adapter.api, "--pipeline", "count"]
    ran = CliRunner().invoke(clara_program, command)
    assert ran.exit_code == 0, ran.output
    paths = ("claraaetitle", "sourceaetitle", "destinationaetitle")
    assert [count(adapter, path) for path in paths] == [2, 1, 1]
    called = call(adapter, "GET", "claraaetitle")["items"][0]["spec"]["aeTitle"]
    call(adapter, "POST", "sourceaetitle", {"aeTitle": "CT2", "hostIp": "127.0.0.1"})
    eventually(lambda: send(adapter.port, "CT2", called, []) == [])
    again = CliRunner().invoke(clara_program, command)
    assert again.exit_code == 0
    assert again.stdout.count("is there already") == 4
