"""kill -9 of a real adapter at every crash point, then a restart: acknowledged implies present, nothing twice, nothing
stuck (docs/spool.md, "After a crash")."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.dsutils import encode
from pynetdicom.presentation import build_context

from dicom_adapter.crash_points import CRASH_POINTS, VARIABLE
from dicom_adapter.dicom.dimse import c_store_rq
from dicom_adapter.net.connection import AssociationEnded, Connection
from dicom_adapter.scu.requestor import Peer, RequestorSettings, associate, propose_each
from tests.adapter_process import AdapterProcess, configuration
from tests.waiting import eventually

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]  # a dozen starts on a machine under load

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "4"))  # more of them by hand: CRASH_ROUNDS=1000
CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"

# Says that it ran, and returns each image as a new one: `.111.` in the UIDs of series and instances becomes `.222.`.
PIPELINE = """
import json, pathlib, sys
source, target, runs = map(pathlib.Path, sys.argv[1:])
with runs.open("a") as log:
    print(json.loads((source / "job.json").read_text())["series"][0]["studyInstanceUid"], file=log)
for file in source.glob("*.dcm"):
    (target / file.name).write_bytes(file.read_bytes().replace(b".111.", b".222."))
"""
RECEIVING = [name for name in CRASH_POINTS if name.startswith(("spool.", "scp.")) and name != "spool.after_marker"]
OF_RESULTS_TASKS = ("results_task.", "download.")  # tests/crash/test_results_tasks.py
AFTER_RELEASE = [name for name in CRASH_POINTS if name not in RECEIVING and not name.startswith(OF_RESULTS_TASKS)]


@dataclass(frozen=True)
class Image:
    """A CT slice, ready to be sent."""

    study: str
    sop_instance_uid: str
    path: Path  # its data set, as it goes over the wire

    @property
    def data_set(self) -> bytes:
        return self.path.read_bytes()


def result_uids(images: Sequence[Image]) -> set[str]:
    return {one.sop_instance_uid.replace(".111.", ".222.") for one in images}


def associate_with(port: int) -> Connection | None:
    """None when nobody listens, or the other end dies meanwhile."""
    try:
        return associate(
            RequestorSettings("CT1", "1.2.3", "TEST"), Peer("LUNG", "127.0.0.1", port), propose_each([(CT, EXPLICIT)])
        )
    except AssociationEnded:
        return None


def send(port: int, images: Sequence[Image]) -> tuple[list[bytes], bool]:
    """Send them in one association; answers with the data sets that were acknowledged, and whether the release was."""
    connection = associate_with(port)
    acknowledged: list[bytes] = []
    if connection is None:
        return acknowledged, False
    [context] = connection.contexts
    try:
        for number, image in enumerate(images, start=1):
            connection.send_command(context, c_store_rq(number, CT, image.sop_instance_uid))
            with image.path.open("rb") as file:
                connection.send_data_set(context, file.fileno(), 0, len(image.data_set))
            answer = connection.receive_command()
            assert answer is not None
            if answer[1].status == 0x0000:
                acknowledged.append(image.data_set)
        connection.release()
    except AssociationEnded:
        return acknowledged, False
    else:
        return acknowledged, True
    finally:
        connection.close()


class Pacs:
    """Counts what it receives, by SOP Instance UID."""

    def __init__(self) -> None:
        self.received: Counter[str] = Counter()
        entity = AE("ARCHIVE")
        entity.supported_contexts = [build_context(CT, [EXPLICIT])]
        handlers: list[Any] = [(evt.EVT_C_STORE, self._store)]
        self._server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        assert self._server is not None
        self.port = int(self._server.server_address[1])

    def _store(self, event: Any) -> int:
        self.received[str(event.request.AffectedSOPInstanceUID)] += 1
        return 0x0000

    def close(self) -> None:
        assert self._server is not None
        self._server.shutdown()


@dataclass
class House:
    """An adapter with one pipeline, and its PACS."""

    folder: Path
    pacs: Pacs = field(default_factory=Pacs)

    def __post_init__(self) -> None:
        self.runs = self.folder / "runs"
        self.adapter = AdapterProcess(self.folder, self.configuration())

    def configuration(self, workers: int = 1) -> dict[str, Any]:
        command = [sys.executable, "-S", "-E", "-c", PIPELINE, "{input}", "{output}", str(self.runs)]
        destination = {"name": "PACS", "host-ip": "127.0.0.1", "port": self.pacs.port, "ae-title": "ARCHIVE"}
        return configuration(
            dicom={"scp": {"worker-processes": workers}, "scu": {"destinations": [destination]}},
            pipelines=[{"id": "p1", "name": "copy", "command": command, "destinations": ["PACS"]}],
            **{"pipeline-mappings": [{"name": "copy", "clara-ae-title": "LUNG", "pipeline-id": "p1"}]},
        )

    def images(self, count: int) -> list[Image]:
        """Real CT slices of one new study."""
        study, root = generate_uid(), f"1.2.826.0.1.3680043.10.111.{random.getrandbits(60)}"
        folder = self.folder / "sent" / study
        folder.mkdir(parents=True)
        made = []
        for number in range(count):
            one = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
            one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID = study, f"{root}.1", f"{root}.1.{number}"
            path = folder / str(number)
            path.write_bytes(encode(one, False, True) or b"")
            made.append(Image(study, one.SOPInstanceUID, path))
        return made

    def start_to_die_at(self, point: str, *, wait: bool) -> None:
        self.adapter.start({VARIABLE: point}, wait=wait)

    def died(self) -> None:
        assert self.adapter.wait() == -signal.SIGKILL

    def stored(self) -> list[bytes]:
        return [path.read_bytes() for path in (self.adapter.storage / "spool" / "new").rglob("*.dcm")]

    def has(self, acknowledged: Sequence[bytes]) -> bool:
        """Whether each of the data sets is there, byte for byte, behind the head that is ours."""
        stored = self.stored()
        return all(any(file.endswith(data_set) for file in stored) for data_set in acknowledged)

    def studies_run(self) -> Counter[str]:
        return Counter(self.runs.read_text().split() if self.runs.exists() else [])

    def close(self) -> None:
        self.adapter.close()
        self.pacs.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.close()


@pytest.mark.parametrize("point", RECEIVING)
def test_death_while_receiving(house: House, point: str) -> None:
    """What was acknowledged is held. When the sender sends it all again, that is one job, and the held is dropped."""
    images = house.images(3)
    house.start_to_die_at(point if point == "spool.before_marker" else f"{point}:2", wait=True)
    acknowledged, released = send(house.adapter.port, images)
    house.died()
    assert not released
    assert len(acknowledged) == (3 if point == "spool.before_marker" else 1)
    assert house.has(acknowledged)

    house.adapter.start()
    [held] = house.adapter.wait_for("batches", "held")
    assert house.has(acknowledged)
    assert not list((house.adapter.storage / "spool" / "tmp").rglob("*.part"))
    again, released = send(house.adapter.port, images)
    assert (len(again), released) == (3, True)
    house.adapter.wait_for("exports", "succeeded")
    assert [one["id"] for one in house.adapter.items("batches") if one["state"] == "dropped"] == [held["id"]]
    assert house.studies_run() == {images[0].study: 1}
    assert house.pacs.received == Counter(result_uids(images))


def test_a_person_releases_what_was_interrupted(house: House) -> None:
    images = house.images(2)
    house.start_to_die_at("spool.before_marker", wait=True)
    acknowledged, _ = send(house.adapter.port, images)
    house.died()
    assert len(acknowledged) == 2
    house.adapter.start()
    [held] = house.adapter.wait_for("batches", "held")
    assert house.adapter.post(f"/api/v1/batches/{held['id']}/release") == 200
    house.adapter.wait_for("exports", "succeeded")
    assert house.pacs.received == Counter(result_uids(images))


def test_death_at_every_step_of_one_trip(house: House) -> None:
    """One study, and a death at each step that follows its release: it arrives, by itself, and was run once."""
    images = house.images(2)
    first, *others = AFTER_RELEASE
    house.start_to_die_at(first, wait=True)
    acknowledged, _ = send(house.adapter.port, images)
    house.died()
    assert len(acknowledged) == 2
    for point in others:
        house.start_to_die_at(point, wait=False)
        house.died()
        assert house.has(acknowledged), point
    house.adapter.start()
    [export] = house.adapter.wait_for("exports", "succeeded")
    assert (export["files"], export["delivered"]) == (2, 2)
    assert [(one["state"], one["attempt"]) for one in house.adapter.items("jobs")] == [("succeeded", 1)]
    assert house.studies_run() == {images[0].study: 1}
    assert set(house.pacs.received) == result_uids(images)
    # A file may be sent once more for each death between the PACS's answer and its row (docs/spool.md).
    assert max(house.pacs.received.values()) <= 3


@pytest.mark.parametrize("point", ["job.while_starting", "job.after_start", "export.after_response"])
def test_two_deaths_at_the_same_step(house: House, point: str) -> None:
    images = house.images(1)
    house.start_to_die_at(point, wait=True)
    send(house.adapter.port, images)
    house.died()
    if point != "job.while_starting":  # not passed again: the run has begun
        house.start_to_die_at(point, wait=False)
        house.died()
    house.adapter.start()
    house.adapter.wait_for("exports", "succeeded")
    assert house.studies_run() == {images[0].study: 1}


@pytest.mark.timeout(60 + 30 * ROUNDS)
def test_deaths_at_any_moment_under_load(house: House) -> None:
    """Two senders never stop; the adapter is killed again and again, at no particular moment."""
    acknowledged: list[bytes] = []
    released: set[str] = set()
    up, enough = threading.Event(), threading.Event()
    lock = threading.Lock()
    port = 0

    def keep_sending() -> None:
        while up.wait() and not enough.wait(0.3):
            images = house.images(2)
            got, ended = send(port, images)
            with lock:
                acknowledged.extend(got)
                if ended and len(got) == 2:
                    released.add(images[0].study)

    house.adapter.configure(house.configuration(workers=2))
    house.adapter.start()
    port = house.adapter.port
    up.set()
    senders = [threading.Thread(target=keep_sending) for _ in range(2)]
    for sender in senders:
        sender.start()
    chance = random.Random()
    try:
        for _ in range(ROUNDS):
            before = len(released)
            eventually(lambda before=before: len(released) > before)  # type: ignore[misc]
            threading.Event().wait(chance.random())
            house.adapter.kill()
            up.clear()
            house.adapter.start()
            up.set()
    finally:
        enough.set()
        up.set()
        for sender in senders:
            sender.join()
    assert house.has(acknowledged)
    eventually(lambda: released <= set(house.studies_run()), patience=60)
    for kind in ("jobs", "exports"):
        eventually(lambda kind=kind: {one["state"] for one in house.adapter.items(kind)} == {"succeeded"})  # type: ignore[misc]
    assert set(house.studies_run().values()) == {1}
