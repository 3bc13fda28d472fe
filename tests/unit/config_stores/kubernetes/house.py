"""A cluster for these tests, and adapters that serve from it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from dicom_adapter.config.resources import Kind, as_json
from dicom_adapter.config_stores.kubernetes.client import connect
from dicom_adapter.config_stores.kubernetes.cluster import Access
from dicom_adapter.config_stores.kubernetes.store import KubernetesConfigStore
from tests.fake_kubernetes import FakeKubernetes

SOURCES = ("imaging", "sources")
SOURCE = {"aeTitle": "ORTHANC", "hostIp": "1.2.3.4"}
BRAIN = {"name": "brain", "aeTitle": "BRAIN", "pipelineId": "p"}


class House:
    """A cluster, and adapters that serve from it."""

    def __init__(self, fake: FakeKubernetes, folder: Path) -> None:
        self.fake = fake
        self.access = Access(fake.kubeconfig(folder), "imaging")
        self.kept = folder / "cluster.json"
        self.changes = 0

    def _changed(self) -> None:
        self.changes += 1

    def make(self) -> KubernetesConfigStore:
        return KubernetesConfigStore(connect(self.access), Kind, self.kept, on_change=self._changed)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[KubernetesConfigStore]:
        store = self.make()
        await store.start()
        try:
            yield store
        finally:
            await store.stop()

    def kubectl_create(self, key: tuple[str, str], name: str, spec: Mapping[str, object]) -> None:
        with self.fake.cluster.changed:
            self.fake.cluster.create(key, {"metadata": {"name": name}, "spec": {**spec}})

    def kubectl_edit(self, key: tuple[str, str], name: str, spec: Mapping[str, object]) -> None:
        with self.fake.cluster.changed:
            self.fake.cluster.update(key, name, {**self.fake.cluster.get(key, name), "spec": {**spec}})

    def write_status(self, key: tuple[str, str], name: str, status: Mapping[str, object]) -> None:
        with self.fake.cluster.changed:
            self.fake.cluster.update(key, name, {"status": {**status}}, status=True)

    def kubectl_delete(self, key: tuple[str, str], name: str) -> None:
        with self.fake.cluster.changed:
            self.fake.cluster.delete(key, name, None)

    def status(self, key: tuple[str, str], name: str) -> dict[str, Any]:
        with self.fake.cluster.changed:
            found: dict[str, Any] = self.fake.cluster.get(key, name).get("status", {})
            return found


async def hosts(store: KubernetesConfigStore) -> list[object]:
    return [as_json(one)["spec"].get("hostIp") for one in await store.list(Kind.SOURCE)]


async def has(store: KubernetesConfigStore, *expected: object) -> bool:
    return await hosts(store) == [*expected]


def generation(status: Mapping[str, Any]) -> int:
    """The generation that a status is about."""
    conditions = status.get("conditions") or [{}]
    return int(conditions[0].get("observedGeneration", 0))
