"""Resources that change while the adapter runs, in its own database and in a cluster (contract 9.1, 9.2).

The cluster is the one of KUBECONFIG where that is set, and there the adapter is the service account of the chart.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pynetdicom.association import Association

from dicom_adapter.config.resources import Kind
from tests import real_kubernetes, scanner
from tests.adapter_process import AdapterProcess, configuration
from tests.end_to_end.test_trip import ct_series
from tests.fake_kubernetes import FakeKubernetes
from tests.real_kubernetes import Cluster
from tests.scanner import CALLED, CALLING
from tests.waiting import PATIENCE, eventually

PATHS = {"aetitle": "claraaetitle", "source": "sourceaetitle", "destination": "destinationaetitle"}
COUNT = """
import json, pathlib, sys
source, target = map(pathlib.Path, sys.argv[1:])
print("instances", len(list(source.glob("*.dcm"))))
"""


class House:
    """An adapter whose resources are changed through its REST API."""

    def __init__(self, folder: Path, kubeconfig: Path | None, namespace: str = "imaging") -> None:
        kubernetes: dict[str, object] = {"enabled": False}
        if kubeconfig is not None:
            kubernetes = {"kubeconfig": str(kubeconfig), "namespace": namespace}
        config = configuration()
        scp = config["dicom"]["scp"]
        del scp["ae-titles"], config["dicom"]["scu"]["destinations"]
        scp["reject-unknown-sources"] = True
        command = [sys.executable, "-c", COUNT, "{input}", "{output}"]
        config["pipelines"] = [{"id": "p1", "name": "count", "command": command}]
        config["kubernetes"] = kubernetes
        self.adapter = AdapterProcess(folder / "adapter", config)

    def call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> httpx2.Response:
        url = f"{self.adapter.api}/api/config/{path}"
        headers = {"Content-Type": "application/json"}
        content = None if body is None else json.dumps(body)
        return httpx2.request(method, url, content=content, headers=headers, timeout=PATIENCE)

    def create(self, kind: str, **spec: object) -> dict[str, Any]:
        answer = self.call("POST", PATHS[kind], spec)
        assert answer.status_code == 200, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def delete(self, kind: str, name: str) -> None:
        answer = self.call("DELETE", f"{PATHS[kind]}/{name}")
        assert answer.status_code == 200, answer.text

    def names(self, kind: str) -> list[str]:
        return [item["metadata"]["name"] for item in self.call("GET", PATHS[kind]).json()["items"]]

    def associate(self, calling: str = "CT1", called: str = "BRAIN") -> Association | str:
        """An open association, or why there is none."""
        return scanner.associate(self.adapter.port, calling, called)

    def answers(self, calling: str = "CT1", called: str = "BRAIN") -> str:
        """What an association request gets: `accepted`, or why not."""
        found = self.associate(calling, called)
        if isinstance(found, str):
            return found
        found.release()
        return "accepted"

    def comes_to(self, expected: str, calling: str = "CT1", called: str = "BRAIN") -> None:
        eventually(lambda: self.answers(calling, called) == expected)

    def send(self, count: int, called: str = "BRAIN") -> None:
        association = self.associate(called=called)
        assert isinstance(association, Association)
        assert [association.send_c_store(one).Status for one in ct_series(count)] == [0] * count
        association.release()

    def ready(self) -> None:
        """A source that may send, and an AE Title that collects for so long that only its end submits."""
        self.create("source", aeTitle="CT1", hostIp="127.0.0.1")
        self.create("aetitle", name="brain", aeTitle="BRAIN", pipelineId="p1", timeout=3600)
        self.comes_to("accepted")


@pytest.fixture
def fake() -> Iterator[FakeKubernetes]:
    made = FakeKubernetes().start()
    yield made
    made.close()


@pytest.fixture
def kubernetes(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster, as whoever administers it."""
    with ExitStack() as stack:
        if kubeconfig := os.environ.get("KUBECONFIG"):
            made = Cluster(Path(kubeconfig), asyncio.run(real_kubernetes.prepare(Path(kubeconfig))))
        else:
            fake = FakeKubernetes().start()
            stack.callback(fake.close)
            made = Cluster(fake.kubeconfig(tmp_path), "imaging")
        stack.callback(made.close)
        yield made


@contextmanager
def running(made: House) -> Iterator[House]:
    made.adapter.start()
    try:
        yield made
    finally:
        made.adapter.close()


@pytest.fixture
def of_kubernetes(kubernetes: Cluster, tmp_path: Path) -> Iterator[House]:
    real = "KUBECONFIG" in os.environ
    kubeconfig = kubernetes.account_of_the_chart(tmp_path) if real else kubernetes.kubeconfig
    with running(House(tmp_path, kubeconfig, kubernetes.namespace)) as made:
        yield made


@pytest.fixture
def of_database(tmp_path: Path) -> Iterator[House]:
    with running(House(tmp_path, None)) as made:
        yield made


@pytest.fixture(params=["database", "kubernetes"])
def house(request: pytest.FixtureRequest) -> House:
    made: House = request.getfixturevalue(f"of_{request.param}")
    return made


def test_every_change_is_in_force_without_a_restart(house: House) -> None:
    assert house.answers() == CALLING  # nothing is configured
    house.create("source", aeTitle="CT1", hostIp="127.0.0.1")
    house.comes_to(CALLED)
    house.create("aetitle", name="brain", aeTitle="BRAIN", pipelineId="p1", timeout=3600)
    house.comes_to("accepted")
    house.send(3)
    house.create("source", aeTitle="CT2", hostIp="127.0.0.1")
    house.comes_to("accepted", "CT2")
    house.delete("source", "ct1")
    house.comes_to(CALLING, "CT1")
    assert house.answers("CT2") == "accepted"
    house.delete("aetitle", "brain")
    house.create("aetitle", name="lung", aeTitle="LUNG", pipelineId="p1")
    house.comes_to("accepted", "CT2", "LUNG")
    house.comes_to(CALLED, "CT2", "BRAIN")
    for name in ("one", "two", "three"):
        house.create("destination", name=name, aeTitle="ARCHIVE", hostIp="127.0.0.1", port=104)
    assert house.names("destination") == ["one", "three", "two"] or house.names("destination") == [
        "one",
        "two",
        "three",
    ]
    house.delete("destination", "one")
    house.delete("destination", "three")
    assert (house.names("source"), house.names("aetitle"), house.names("destination")) == (["ct2"], ["lung"], ["two"])


def test_an_association_under_way_is_not_disturbed(house: House) -> None:
    house.ready()
    association = house.associate()
    assert isinstance(association, Association)
    first, second = ct_series(2)
    assert association.send_c_store(first).Status == 0
    house.delete("aetitle", "brain")
    house.comes_to(CALLED)
    assert association.send_c_store(second).Status == 0
    association.release()
    (job,) = house.adapter.wait_for("jobs", "succeeded")
    assert house.adapter.get(f"/api/v1/jobs/{job['id']}/logs")["stdout"] == "instances 2\n"


def test_what_was_collected_is_submitted_when_its_ae_title_goes_and_once_when_it_comes_again(house: House) -> None:
    """Issue 12 of the original: an AE Title that was made again had two processors, and so two jobs for one study."""
    house.ready()
    house.send(2)
    eventually(lambda: house.adapter.items("batches"))
    assert house.adapter.items("jobs") == []
    house.delete("aetitle", "brain")
    (first,) = house.adapter.wait_for("jobs", "succeeded")
    assert house.adapter.get(f"/api/v1/jobs/{first['id']}/logs")["stdout"] == "instances 2\n"
    house.create("aetitle", name="brain", aeTitle="BRAIN", pipelineId="p1", timeout=1)
    house.comes_to("accepted")
    house.send(3)
    second, _ = house.adapter.wait_for("jobs", "succeeded", count=2)
    assert house.adapter.get(f"/api/v1/jobs/{second['id']}/logs")["stdout"] == "instances 3\n"
    assert len(house.adapter.items("batches")) == len(house.adapter.items("jobs")) == 2


def test_both_generations_of_a_spec_make_jobs(house: House) -> None:
    house.create("source", aeTitle="CT1", hostIp="127.0.0.1")
    processor = "Nvidia.Clara.DicomAdapter.Server.Processors.AeTitleJobProcessor, Nvidia.Clara.DicomAdapter"
    settings = {"pipeline-count": "p1", "timeout": "1"}
    house.create("aetitle", name="brain", aeTitle="BRAIN", processor=processor, processorSettings=settings)
    house.create("aetitle", name="lung", aeTitle="LUNG", pipelineId="p1")
    for called in ("BRAIN", "LUNG"):
        house.comes_to("accepted", called=called)
        house.send(1, called)
    jobs = house.adapter.wait_for("jobs", "succeeded", count=2)
    assert {job["calledAeTitle"] for job in jobs} == {"BRAIN", "LUNG"}


# --- what only a cluster does


def test_what_kubectl_does_is_in_force_and_its_status_is_written(kubernetes: Cluster, of_kubernetes: House) -> None:
    house, titles = of_kubernetes, Kind.CLARA_AE_TITLE
    house.create("source", aeTitle="CT1", hostIp="127.0.0.1")
    kubernetes.create(titles, "brain", {"name": "brain", "aeTitle": "BRAIN", "pipelineId": "p1"})
    kubernetes.create(titles, "other", {"aeTitle": "OTHER"})
    house.comes_to("accepted")
    assert house.answers(called="OTHER") == CALLED
    eventually(lambda: house.call("GET", PATHS["aetitle"]).json()["items"][1].get("status", {}).get("conditions"))
    kubernetes.edit(titles, "brain", aeTitle="HEAD")
    house.comes_to("accepted", called="HEAD")
    assert house.answers(called="BRAIN") == CALLED

    def enabled() -> list[object]:
        return [kubernetes.resource(titles, name).get("status", {}).get("Enabled") for name in ("brain", "other")]

    eventually(lambda: enabled() == [True, False])


def test_an_api_server_that_is_away_changes_nothing_for_those_who_serve(fake: FakeKubernetes, tmp_path: Path) -> None:
    with running(House(tmp_path, fake.kubeconfig(tmp_path))) as house:
        house.ready()
        fake.stop()

        def stale() -> list[str]:
            return [one["reason"] for one in house.adapter.get("/health/status")["resources"] if one["staleSince"]]

        (reason, *_) = eventually(stale)
        assert "cannot be reached" in reason
        refused = house.call("POST", PATHS["source"], {"aeTitle": "CT2", "hostIp": "127.0.0.1"})
        assert refused.status_code == 503
        assert "cannot be reached" in refused.json()["message"]
        assert house.names("aetitle") == ["brain"]
        house.send(1)
        # Also after a death in that time.
        house.adapter.kill()
        house.adapter.start()
        assert stale()
        house.send(1)
        fake.start()
        eventually(lambda: not stale())
        house.delete("aetitle", "brain")
        house.comes_to(CALLED)


def test_a_start_that_finds_neither_the_cluster_nor_a_copy_says_why(tmp_path: Path) -> None:
    fake = FakeKubernetes().start()
    house = House(tmp_path, fake.kubeconfig(tmp_path))
    fake.close()
    house.adapter.start(wait=False)
    assert house.adapter.wait() == 1
    log = house.adapter.log.read_text()
    assert "the resources cannot be read" in log
    assert "Nothing is known of them from before" in log
