"""Resources in the adapter's own database: what `read-*-from-crd: true` means where there is no Kubernetes.

The engine comes from outside and is shared with the store of jobs, whose migrations make the two tables here too; only
this module reads and writes them.
"""

from __future__ import annotations

import asyncio
import builtins
import json
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
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
    Kind,
    Metadata,
    Resource,
    Spec,
    build,
    check_replacement,
    parse_spec,
    resource_name,
    same_identity,
)
from dicom_adapter.config.store import AlreadyExistsError, ConflictError, NotFoundError

metadata = MetaData()

config_resources = Table(
    "config_resources",
    metadata,
    Column("kind", String(32), primary_key=True),
    Column("name", String(253), primary_key=True),
    Column("uid", String(36), nullable=False),
    Column("resource_version", Integer, nullable=False),  # of its last change
    Column("generation", Integer, nullable=False, server_default="1"),  # how many specs it has had
    Column("created_at", Float, nullable=False),  # seconds since the epoch; with the name, the order of lists
    Column("spec", Text, nullable=False),  # JSON
    Column("status", Text),  # JSON
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

    async def list(self, kind: Kind) -> builtins.list[Resource]:
        return await asyncio.to_thread(self._list, kind)

    async def get(self, kind: Kind, name: str) -> Resource:
        return await asyncio.to_thread(self._get, kind, name)

    async def create(self, kind: Kind, body: Mapping[str, object]) -> Resource:
        return await asyncio.to_thread(self._create, kind, parse_spec(kind, body))

    async def replace(
        self, kind: Kind, name: str, body: Mapping[str, object], *, resource_version: str | None = None
    ) -> Resource:
        return await asyncio.to_thread(self._replace, kind, name, parse_spec(kind, body), resource_version)

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

    def _get(self, kind: Kind, name: str) -> Resource:
        with self._engine.connect() as connection:
            return _named(connection, kind, name)

    def _create(self, kind: Kind, spec: Spec) -> Resource:
        name = resource_name(spec.name)
        with self._engine.begin() as connection:
            version = _next_version(connection)
            others = _read(connection, kind)
            if any(other.metadata.name == name for other in others):
                raise AlreadyExistsError(f"{kind} {name} already exists")
            _check_identity(spec, others)
            row = {
                "kind": kind.value,
                "name": name,
                "uid": str(uuid.uuid4()),
                "resource_version": version,
                "generation": 1,
                "created_at": self._clock(),
                "spec": _as_text(spec),
            }
            connection.execute(insert(config_resources).values(row))
        return _resource(kind, row)

    def _replace(self, kind: Kind, name: str, spec: Spec, resource_version: str | None) -> Resource:
        table = config_resources
        with self._engine.begin() as connection:
            version = _next_version(connection)
            old = _named(connection, kind, name)
            if resource_version not in (None, old.metadata.resource_version):
                raise ConflictError(f"{kind} {old.metadata.name} was changed meanwhile: read it again")
            check_replacement(old, spec)
            _check_identity(spec, [other for other in _read(connection, kind) if other != old])
            connection.execute(
                update(table)
                .where(table.c.kind == kind.value, table.c.name == old.metadata.name)
                .values(resource_version=version, generation=table.c.generation + 1, spec=_as_text(spec))
            )
            return _named(connection, kind, name)

    def _delete(self, kind: Kind, name: str) -> Resource:
        with self._engine.begin() as connection:
            _next_version(connection)
            found = _named(connection, kind, name)
            table = config_resources
            connection.execute(delete(table).where(table.c.kind == kind.value, table.c.name == found.metadata.name))
        return found


def _check_identity(spec: Spec, others: Iterable[Resource]) -> None:
    for other in others:
        if same_identity(spec, other.spec):
            what = f"Clara AE Title {spec.ae_title}" if other.kind is Kind.CLARA_AE_TITLE else f"name {spec.name}"
            raise AlreadyExistsError(f"{what} already exists")


def _as_text(spec: Spec) -> str:
    return json.dumps(spec.model_dump(mode="json", by_alias=True))


def _read_version(connection: Connection) -> int:
    return int(connection.execute(select(config_changes.c.version)).scalar_one())


def _next_version(connection: Connection) -> int:
    """Count the change. Comes first in a transaction, so that two writers wait for each other before they look."""
    connection.execute(update(config_changes).values(version=config_changes.c.version + 1))
    return _read_version(connection)


def _named(connection: Connection, kind: Kind, name: str) -> Resource:
    for resource in _read(connection, kind):
        if resource.metadata.name == name.lower():
            return resource
    raise NotFoundError(f"no {kind} has this name")


def _read(connection: Connection, kind: Kind) -> list[Resource]:
    table = config_resources
    rows = connection.execute(
        select(table).where(table.c.kind == kind.value).order_by(table.c.created_at, table.c.name)
    )
    return [_resource(kind, row._asdict()) for row in rows]


def _resource(kind: Kind, row: Mapping[str, object]) -> Resource:
    created = datetime.fromtimestamp(float(str(row["created_at"])), UTC)
    return build(
        parse_spec(kind, json.loads(str(row["spec"]))),
        Metadata(
            name=str(row["name"]),
            uid=str(row["uid"]),
            resource_version=str(row["resource_version"]),
            generation=int(str(row["generation"])),
            creation_timestamp=created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        ),
    )
