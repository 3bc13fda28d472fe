"""Resources in the adapter's own database: what `read-*-from-crd: true` means where there is no Kubernetes.

The engine comes from outside and may be shared with the store of jobs; the two tables here are this module's alone.
"""

from __future__ import annotations

import asyncio
import builtins
import json
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    delete,
    insert,
    select,
    update,
)

from dicom_adapter.config.resources import (
    ClaraAeTitleSpec,
    Kind,
    Metadata,
    Resource,
    Spec,
    build,
    parse_spec,
    resource_name,
)
from dicom_adapter.config.store import AlreadyExistsError, NotFoundError

metadata = MetaData()

config_resources = Table(
    "config_resources",
    metadata,
    Column("kind", String(32), primary_key=True),
    Column("name", String(253), primary_key=True),
    Column("uid", String(36), nullable=False),
    Column("resource_version", Integer, nullable=False),  # the change that made it: also the order of lists
    Column("created_at", Float, nullable=False),  # seconds since the epoch
    Column("spec", Text, nullable=False),  # JSON
)

config_changes = Table(
    "config_changes",
    metadata,
    Column("id", Integer, primary_key=True),  # one row, 1
    Column("version", Integer, nullable=False),  # grows with every change
)


class DatabaseConfigStore:
    """A ConfigStore in a database."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock
        metadata.create_all(engine)
        with engine.begin() as connection:
            if connection.execute(select(config_changes.c.id)).first() is None:
                connection.execute(insert(config_changes).values(id=1, version=1))

    async def list(self, kind: Kind) -> builtins.list[Resource]:
        return await asyncio.to_thread(self._list, kind)

    async def create(self, kind: Kind, body: Mapping[str, object]) -> Resource:
        return await asyncio.to_thread(self._create, kind, parse_spec(kind, body))

    async def delete(self, kind: Kind, name: str) -> Resource:
        return await asyncio.to_thread(self._delete, kind, name)

    async def version(self) -> int:
        return await asyncio.to_thread(self._version)

    def _version(self) -> int:
        with self._engine.connect() as connection:
            return _read_version(connection)

    def _list(self, kind: Kind) -> builtins.list[Resource]:
        with self._engine.connect() as connection:
            return _read(connection, kind)

    def _create(self, kind: Kind, spec: Spec) -> Resource:
        name = resource_name(spec.name)
        with self._engine.begin() as connection:
            version = _next_version(connection)
            for other in _read(connection, kind):
                if other.metadata.name == name:
                    raise AlreadyExistsError(f"{kind} {name} already exists")
                if isinstance(spec, ClaraAeTitleSpec) and other.spec.ae_title == spec.ae_title:
                    raise AlreadyExistsError(f"Clara AE Title {spec.ae_title} already exists")
            row = {
                "kind": kind.value,
                "name": name,
                "uid": str(uuid.uuid4()),
                "resource_version": version,
                "created_at": self._clock(),
                "spec": json.dumps(spec.model_dump(mode="json", by_alias=True)),
            }
            connection.execute(insert(config_resources).values(row))
        return _resource(kind, row)

    def _delete(self, kind: Kind, name: str) -> Resource:
        with self._engine.begin() as connection:
            _next_version(connection)
            found = next((item for item in _read(connection, kind) if item.metadata.name == name.lower()), None)
            if found is None:
                raise NotFoundError(f"no {kind} has this name")
            table = config_resources
            connection.execute(delete(table).where(table.c.kind == kind.value, table.c.name == found.metadata.name))
        return found


def _read_version(connection: Connection) -> int:
    return int(connection.execute(select(config_changes.c.version)).scalar_one())


def _next_version(connection: Connection) -> int:
    """Count the change. Comes first in a transaction, so that two writers wait for each other before they look."""
    connection.execute(update(config_changes).values(version=config_changes.c.version + 1))
    return _read_version(connection)


def _read(connection: Connection, kind: Kind) -> list[Resource]:
    table = config_resources
    rows = connection.execute(select(table).where(table.c.kind == kind.value).order_by(table.c.resource_version))
    return [_resource(kind, row._asdict()) for row in rows]


def _resource(kind: Kind, row: Mapping[str, object]) -> Resource:
    created = datetime.fromtimestamp(float(str(row["created_at"])), UTC)
    return build(
        parse_spec(kind, json.loads(str(row["spec"]))),
        Metadata(
            name=str(row["name"]),
            uid=str(row["uid"]),
            resource_version=str(row["resource_version"]),
            creation_timestamp=created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        ),
    )
