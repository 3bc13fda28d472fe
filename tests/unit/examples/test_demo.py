"""`make demo` does what it says, and says so when it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pydicom
import pytest
from PIL import Image

from examples.demo.__main__ import follow, latest_states
from examples.demo.delivery import inspect, references
from examples.demo.processes import Adapter, DemoError

pytestmark = pytest.mark.timeout(240)  # the first test to ask for it runs the demo twice

ROOT = Path(__file__).parents[3]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "COLUMNS": "200"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a demo that ran, twice."""
    folder = tmp_path_factory.mktemp("demo")
    for _ in range(2):
        run = subprocess.run(
            [sys.executable, "-m", "examples.demo"],
            cwd=folder,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        for kind in ("association", "batch", "job", "export"):
            assert f"  {kind}  " in run.stdout
        assert run.stdout.rstrip().endswith("The demo succeeded.")
    return folder / "demo-output"


def test_the_pacs_has_the_results_of_the_study_that_was_sent(demo: Path) -> None:
    sent, received = sorted((demo / "sent").glob("*.dcm")), sorted((demo / "pacs").glob("*.dcm"))
    assert len(sent) == 34
    assert len(received) == 2
    assert {pydicom.dcmread(path).StudyInstanceUID for path in sent + received} == {
        pydicom.dcmread(sent[0]).StudyInstanceUID
    }
    assert references(pydicom.dcmread(received[0])) == {pydicom.dcmread(path).SOPInstanceUID for path in sent}
    with Image.open(demo / "bone.png") as picture:
        assert picture.mode == "RGB"


@pytest.mark.parametrize(
    ("keyword", "value", "fault"),
    [
        ("StudyInstanceUID", "1.2.3", "another StudyInstanceUID"),
        ("PatientID", "ELSE", "another PatientID"),
        ("SourceImageSequence", [], "does not reference the images"),
        ("PixelData", b"", "is empty"),
    ],
)
def test_a_wrong_result_is_a_fault(demo: Path, tmp_path: Path, keyword: str, value: Any, fault: str) -> None:
    sent = sorted((demo / "sent").glob("*.dcm"))
    for path in (demo / "pacs").glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        if keyword == "PixelData":
            value = bytes(len(dataset.PixelData))
        if keyword in dataset:
            setattr(dataset, keyword, value)
        dataset.save_as(tmp_path / path.name)
    delivery = inspect(tmp_path, sent)
    assert any(fault in one for one in delivery.faults)


def test_a_missing_result_is_a_fault(demo: Path, tmp_path: Path) -> None:
    assert inspect(demo / "pacs", sorted((demo / "sent").glob("*.dcm"))).faults == []
    assert inspect(tmp_path, sorted((demo / "sent").glob("*.dcm"))).faults == [
        "the PACS got 0 objects instead of 2",
        "the PACS got no Segmentation",
        "the PACS got no picture",
    ]


class FakeAdapter:
    """Answers with one timeline after the other."""

    def __init__(self, *timelines: dict[str, str] | None) -> None:
        self._timelines = list(timelines)

    def check_alive(self) -> None:
        pass

    def get(self, path: str) -> dict[str, Any] | None:
        assert path == "/api/v1/studies/1.2.3"
        states = self._timelines.pop(0)
        if states is None:
            return None
        return {"timeline": [{"kind": kind, "state": state} for kind, state in states.items()]}


RELEASED = {"association": "released"}
BATCHED = RELEASED | {"batch": "processed"}
RUN = BATCHED | {"job": "succeeded"}


def test_follows_a_study_to_its_export() -> None:
    adapter = FakeAdapter(None, RELEASED, BATCHED | {"job": "started"}, RUN, RUN | {"export": "succeeded"})
    follow(cast(Adapter, adapter), "1.2.3")


@pytest.mark.parametrize(
    ("states", "reason"),
    [
        (BATCHED | {"job": "failed"}, "the job of the study is failed"),
        (RUN | {"export": "failed"}, "the export of the study is failed"),
        (RELEASED | {"batch": "held"}, "the batch of the study is held"),
        ({"association": "aborted"}, "the association of the study is aborted"),
    ],
)
def test_stops_following_a_study_that_will_not_arrive(states: dict[str, str], reason: str) -> None:
    with pytest.raises(DemoError, match=reason):
        follow(cast(Adapter, FakeAdapter(states)), "1.2.3")


def test_the_newest_try_counts() -> None:
    timeline = [{"kind": "job", "state": "failed"}, {"kind": "job", "state": "started"}]
    assert latest_states({"timeline": timeline}) == {"job": "started"}
    assert latest_states(None) == {}
