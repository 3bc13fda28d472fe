"""The last known resources in a file of the storage folder, so that a start while the API server is away serves them.

Why a file, and not the tables of the embedded store: these are somebody else's resources, and must not be taken for the
adapter's own when the cluster is left; and a file that is lost or damaged costs nothing but this one convenience.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from dicom_adapter.config.resources import Kind
from dicom_adapter.config_stores.kubernetes.client import Item

log = structlog.get_logger("kubernetes")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Resources of one namespace of one cluster. `as_of`: seconds since the epoch, when they were known to be right."""

    server: str
    namespace: str
    as_of: float
    items: Mapping[Kind, Sequence[Item]]


class Kept:
    """The file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, snapshot: Snapshot) -> None:
        """Replace it; the old one stays until the new one is on disk. Raises OSError."""
        content = {
            "server": snapshot.server,
            "namespace": snapshot.namespace,
            "asOf": snapshot.as_of,
            "items": {kind.plural: [_lean(item) for item in items] for kind, items in snapshot.items.items()},
        }
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)

    def read(self, server: str, namespace: str) -> Snapshot | None:
        """What is kept of this cluster and namespace, or None."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            if (found["server"], found["namespace"]) != (server, namespace):
                return None
            items = {kind: list(found["items"][kind.plural]) for kind in Kind if kind.plural in found["items"]}
            for every in items.values():
                for item in every:
                    _ = item["metadata"]["name"]  # what else it lacks is judged as it would be from the API server
            return Snapshot(server, namespace, float(found["asOf"]), items)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("the last known resources cannot be read", file=str(self.path), why=type(error).__name__)
            return None


def _lean(item: Item) -> Item:
    return {**item, "metadata": {key: value for key, value in item["metadata"].items() if key != "managedFields"}}
