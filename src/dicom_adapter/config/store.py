"""ConfigStore: where the resources of `resources.py` are kept. One protocol, one conformance suite.

Why here and not in core/ports.py: its words are the resources of this layer, which core does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from dicom_adapter.config.resources import Kind, Resource
from dicom_adapter.core.errors import PermanentError


class AlreadyExistsError(PermanentError):
    """A resource of that name, or a Clara AE Title of that AE Title, is there already."""


class NotFoundError(PermanentError):
    """No resource of that name."""


class ConflictError(PermanentError):
    """The resource is no longer what the caller saw: somebody else changed it. Read it again."""


class ReadOnlyError(PermanentError):
    """The store cannot be changed from here: its resources are lists in the configuration file."""


@dataclass(frozen=True, slots=True)
class Stale:
    """What a store lists may be older than what is kept. `since`: seconds since the epoch; `reason`: in words."""

    since: float
    reason: str


class ConfigStore(Protocol):
    """Keeps resources. The names of its verbs and its answers are Kubernetes'.

    `name`: file, database or kubernetes.
    """

    name: str

    @property
    def place(self) -> str:
        """Where it keeps them, for people."""
        ...

    def stale(self) -> Stale | None:
        """None while it lists what is kept. From any thread."""
        ...

    async def list(self, kind: Kind) -> list[Resource]:
        """Every resource of a kind, in the order in which they were made."""
        ...

    async def get(self, kind: Kind, name: str) -> Resource:
        """The one of this metadata.name. Raises NotFoundError."""
        ...

    async def create(self, kind: Kind, body: Mapping[str, object]) -> Resource:
        """Make one from the fields of its spec (camelCase). When it returns, the resource is durable.

        Raises InvalidResourceError, AlreadyExistsError, ReadOnlyError.
        """
        ...

    async def replace(
        self, kind: Kind, name: str, body: Mapping[str, object], *, resource_version: str | None = None
    ) -> Resource:
        """Put the fields of a spec in place of all the fields of the one of this metadata.name; its name stays.

        `resource_version`: that of the resource which the caller saw; None replaces whatever is there.

        Raises InvalidResourceError, NotFoundError, AlreadyExistsError, ConflictError, ReadOnlyError.
        """
        ...

    async def delete(self, kind: Kind, name: str) -> Resource:
        """Remove one by metadata.name, and return what it was. Raises NotFoundError, ReadOnlyError."""
        ...

    async def version(self) -> int:
        """A number that grows with every change: who remembers it knows whether to list again."""
        ...
