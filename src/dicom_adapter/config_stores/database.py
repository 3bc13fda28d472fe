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

from dicom_adapter.config.acceptance import Found, accepted, check_identity, judge
from dicom_adapter.config.resources import (
    Kind,
    Metadata,
    Resource,
    Spec,
    check_replacement,
    parse_spec,
    resource_name,
    rfc3339,
)
from dicom_adapter.config.store import AlreadyExistsError, ConflictError, NotFoundError, Stale

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

    name = "database"
    place = "the adapter's own database"

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock

    def stale(self) -> Stale | None:
        return None

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
            found = _read(connection, kind)
        judged = judge(found, self._now())
        # A version with other rules wrote those whose verdict is new: since when it holds is kept from now on.
        if changed := [new for old, new in zip(found, judged, strict=True) if old.status != _shown(new)]:
            self._keep_status(changed)
        return judged

    def _keep_status(self, resources: Iterable[Resource]) -> None:
        table = config_resources
        with self._engine.begin() as connection:
            for resource in resources:
                connection.execute(
                    update(table)
                    .where(
                        table.c.kind == resource.kind.value,
                        table.c.name == resource.metadata.name,
                        table.c.resource_version == int(resource.metadata.resource_version),
                    )
                    .values(status=json.dumps(_shown(resource)))
                )

    def _get(self, kind: Kind, name: str) -> Resource:
        return _named(kind, self._list(kind), name)

    def _now(self) -> str:
        return rfc3339(self._clock())

    def _create(self, kind: Kind, spec: Spec) -> Resource:
        name = resource_name(spec.name)
        with self._engine.begin() as connection:
            version = _next_version(connection)
            others = self._judged(connection, kind)
            if any(other.metadata.name == name for other in others):
                raise AlreadyExistsError(f"{kind} {name} already exists")
            check_identity(spec, others)
            created_at = self._clock()
            made = accepted(
                kind,
                spec,
                Metadata(
                    name=name,
                    uid=str(uuid.uuid4()),
                    resource_version=str(version),
                    creation_timestamp=rfc3339(created_at),
                ),
                self._now(),
            )
            row = {"kind": kind.value, "name": name, "created_at": created_at}
            connection.execute(insert(config_resources).values(row | _columns(made)))
        return made

    def _replace(self, kind: Kind, name: str, spec: Spec, resource_version: str | None) -> Resource:
        table = config_resources
        with self._engine.begin() as connection:
            version = _next_version(connection)
            others = self._judged(connection, kind)
            old = _named(kind, others, name)
            if resource_version not in (None, old.metadata.resource_version):
                raise ConflictError(f"{kind} {old.metadata.name} was changed meanwhile: read it again")
            check_replacement(old, spec)
            check_identity(spec, [other for other in others if other is not old])
            metadata = old.metadata.model_copy(
                update={"resource_version": str(version), "generation": old.metadata.generation + 1}
            )
            made = accepted(kind, spec, metadata, self._now(), old.status)
            connection.execute(
                update(table)
                .where(table.c.kind == kind.value, table.c.name == old.metadata.name)
                .values(_columns(made))
            )
        return made

    def _delete(self, kind: Kind, name: str) -> Resource:
        with self._engine.begin() as connection:
            _next_version(connection)
            found = _named(kind, self._judged(connection, kind), name)
            table = config_resources
            connection.execute(delete(table).where(table.c.kind == kind.value, table.c.name == found.metadata.name))
        return found

    def _judged(self, connection: Connection, kind: Kind) -> builtins.list[Resource]:
        return judge(_read(connection, kind), self._now())


def _columns(resource: Resource) -> dict[str, object]:
    """The columns that a change of a resource changes."""
    return {
        "uid": resource.metadata.uid,
        "resource_version": int(resource.metadata.resource_version),
        "generation": resource.metadata.generation,
        "spec": json.dumps(resource.spec.model_dump(mode="json", exclude_none=True)),
        "status": json.dumps(_shown(resource)),
    }


def _shown(resource: Resource) -> dict[str, object]:
    return resource.status.model_dump(mode="json")


def _read_version(connection: Connection) -> int:
    return int(connection.execute(select(config_changes.c.version)).scalar_one())


def _next_version(connection: Connection) -> int:
    """Count the change. Comes first in a transaction, so that two writers wait for each other before they look."""
    connection.execute(update(config_changes).values(version=config_changes.c.version + 1))
    return _read_version(connection)


def _named(kind: Kind, resources: Iterable[Resource], name: str) -> Resource:
    for resource in resources:
        if resource.metadata.name == name.lower():
            return resource
    raise NotFoundError(f"no {kind} has this name")


def _read(connection: Connection, kind: Kind) -> list[Found]:
    table = config_resources
    rows = connection.execute(
        select(table).where(table.c.kind == kind.value).order_by(table.c.created_at, table.c.name)
    )
    return [_found(kind, row._asdict()) for row in rows]


def _found(kind: Kind, row: Mapping[str, object]) -> Found:
    metadata = Metadata(
        name=str(row["name"]),
        uid=str(row["uid"]),
        resource_version=str(row["resource_version"]),
        generation=int(str(row["generation"])),
        creation_timestamp=rfc3339(float(str(row["created_at"]))),
    )
    status = row["status"]
    return Found(kind, metadata, json.loads(str(row["spec"])), {} if status is None else json.loads(str(status)))
