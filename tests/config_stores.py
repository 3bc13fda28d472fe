"""The config stores of the conformance suite, each behind the same few words."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from json import dumps
from pathlib import Path
from typing import Protocol

from sqlalchemy import func, insert, select

from dicom_adapter.config.resources import Kind
from dicom_adapter.config.store import ConfigStore
from dicom_adapter.config_stores.database import DatabaseConfigStore, config_resources
from tests.databases import fresh

Body = Mapping[str, object]


class House(Protocol):
    """Where a store keeps its resources."""

    namespace: str
    store: ConfigStore

    async def reopen(self) -> ConfigStore:
        """The store as another process finds it."""
        ...

    async def put(self, kind: Kind, name: str, body: Body) -> None:
        """Keep a spec past the store: as a person or another version does, whatever the rules."""
        ...

    async def settle(self) -> None:
        """Return when the store knows what is kept."""
        ...


@asynccontextmanager
async def database_house(folder: Path) -> AsyncIterator[House]:
    """Resources in a database of the adapter."""
    house = _DatabaseHouse(folder)
    yield house
    house.database.close()


class _DatabaseHouse:
    namespace = "default"

    def __init__(self, folder: Path) -> None:
        self.database = fresh(folder)
        self.store: ConfigStore = DatabaseConfigStore(self.database.engine)

    async def reopen(self) -> ConfigStore:
        return DatabaseConfigStore(self.database.engine)

    async def put(self, kind: Kind, name: str, body: Body) -> None:
        with self.database.write() as connection:
            age = connection.scalar(select(func.count()).select_from(config_resources))
            row = {"kind": kind.value, "name": name, "uid": str(uuid.uuid4()), "created_at": age, "spec": dumps(body)}
            connection.execute(insert(config_resources).values(row | {"resource_version": 1}))

    async def settle(self) -> None:
        pass
