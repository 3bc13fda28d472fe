"""The config stores of the conformance suite, each behind the same few words."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from json import dumps
from pathlib import Path
from typing import Protocol

from sqlalchemy import func, insert, select

from dicom_adapter.config.acceptance import condition_of
from dicom_adapter.config.resources import Kind
from dicom_adapter.config.store import ConfigStore
from dicom_adapter.config_stores.database import DatabaseConfigStore, config_resources
from dicom_adapter.config_stores.kubernetes.client import connect
from dicom_adapter.config_stores.kubernetes.cluster import Access
from dicom_adapter.config_stores.kubernetes.store import KubernetesConfigStore
from tests import real_kubernetes
from tests.databases import fresh
from tests.fake_kubernetes import FakeKubernetes
from tests.waiting import until

Body = Mapping[str, object]


class House(Protocol):
    """Where a store keeps its resources."""

    namespace: str
    store: ConfigStore

    async def reopen(self) -> ConfigStore:
        """The store as another process finds it."""
        ...

    async def put(self, kind: Kind, name: str, body: Body) -> None:
        """Keep a spec past the store, as a person or another version does, and return when the store knows it."""
        ...


@asynccontextmanager
async def house(name: str, folder: Path) -> AsyncIterator[House]:
    """An empty one: `database`, or `kubernetes`, which is the API server of KUBECONFIG where that is set."""
    async with AsyncExitStack() as stack:
        if name == "database":
            yield _DatabaseHouse(folder, stack)
        elif kubeconfig := os.environ.get("KUBECONFIG"):
            namespace = await real_kubernetes.prepare(Path(kubeconfig))
            yield await _KubernetesHouse(Access(Path(kubeconfig), namespace), folder, stack).start()
        else:
            fake = FakeKubernetes().start()
            stack.callback(fake.close)
            yield await _KubernetesHouse(Access(fake.kubeconfig(folder), "imaging"), folder, stack).start()


class _DatabaseHouse:
    namespace = "default"

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self._database = fresh(folder)
        stack.callback(self._database.close)
        self.store: ConfigStore = DatabaseConfigStore(self._database.engine)

    async def reopen(self) -> ConfigStore:
        return DatabaseConfigStore(self._database.engine)

    async def put(self, kind: Kind, name: str, body: Body) -> None:
        with self._database.write() as connection:
            age = connection.scalar(select(func.count()).select_from(config_resources))
            row = {"kind": kind.value, "name": name, "uid": str(uuid.uuid4()), "created_at": age, "spec": dumps(body)}
            connection.execute(insert(config_resources).values(row | {"resource_version": 1}))


class _KubernetesHouse:
    def __init__(self, access: Access, folder: Path, stack: AsyncExitStack) -> None:
        assert access.namespace is not None
        self.namespace = access.namespace
        self._access, self._folder, self._stack = access, folder, stack
        self._client = connect(access)
        stack.push_async_callback(self._client.close)
        self.store: ConfigStore

    async def start(self) -> _KubernetesHouse:
        self.store = await self.reopen()
        return self

    async def reopen(self) -> ConfigStore:
        await until(self._statuses_written)
        store = KubernetesConfigStore(connect(self._access), Kind, self._folder / f"{uuid.uuid4()}.json")
        await store.start()
        self._stack.push_async_callback(store.stop)
        return store

    async def _statuses_written(self) -> bool:
        """A store writes them a little later; only what is written does another one know."""
        kept = [item for kind in Kind for item in (await self._client.list(kind))[0]]
        return all(condition_of(item.get("status")) for item in kept)

    async def put(self, kind: Kind, name: str, body: Body) -> None:
        await self._client.create(kind, name, body)
        await until(lambda: _has(self.store, kind, name))


async def _has(store: ConfigStore, kind: Kind, name: str) -> bool:
    return name in [resource.metadata.name for resource in await store.list(kind)]
