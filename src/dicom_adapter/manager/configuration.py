"""Keeps the ConfigSnapshot in force: rebuilt when the store of resources changed, swapped whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import structlog

from dicom_adapter.config.resources import Kind
from dicom_adapter.config.schema import Settings
from dicom_adapter.config.snapshot_builder import build_snapshot, read_resources, reads_from_store
from dicom_adapter.config.store import ConfigStore
from dicom_adapter.core.snapshot import ClaraAeTitle, ConfigSnapshot
from dicom_adapter.manager.trigger import Trigger

log = structlog.get_logger("configuration")

REMEMBERED = 1000  # AE Titles that were deleted
LOOK_INTERVAL = 0.5  # seconds: a change takes effect within a second


class Configuration:
    """The only writer of the snapshot. A store that is away changes nothing: the last one goes on serving."""

    name = "configuration"

    def __init__(
        self, settings: Settings, lists: ConfigStore, store: ConfigStore, *, on_change: Callable[[], None]
    ) -> None:
        self.trigger = Trigger()
        self._settings = settings
        self._lists = lists
        self._store = store
        self._on_change = on_change
        self._seen: int | None = None
        self._snapshot = ConfigSnapshot()

    def snapshot(self) -> ConfigSnapshot:
        """The configuration in force. From any thread: an attribute is read whole."""
        return self._snapshot

    def store_of(self, kind: Kind) -> ConfigStore:
        """Where the resources of a kind that are in force come from."""
        return self._store if reads_from_store(self._settings, kind) else self._lists

    async def step(self) -> float | None:
        seen = await self._store.version()
        if seen != self._seen:
            resources = await read_resources(self._settings, self._lists, self._store)
            before = self._snapshot
            now = build_snapshot(self._settings, resources, before.version + 1)
            self._snapshot = replace(now, retired=_retired(before, now))
            self._seen = seen
            log.info(
                "configuration in force",
                version=self._snapshot.version,
                ae_titles=sorted(self._snapshot.ae_titles),
                sources=len(self._snapshot.sources),
                destinations=sorted(one.name for one in self._snapshot.destinations.values()),
            )
            self._on_change()
        return LOOK_INTERVAL

    async def stop(self) -> None:
        pass


def _retired(before: ConfigSnapshot, now: ConfigSnapshot) -> Mapping[str, ClaraAeTitle]:
    """The AE Titles that are no more, as they were: an association that began before ends by their rules.

    In memory only: an association that our own end cut off is held for a person anyway.
    """
    known = {**before.retired, **before.ae_titles}
    gone = [(title, ae_title) for title, ae_title in known.items() if title not in now.ae_titles]
    return dict(gone[-REMEMBERED:])
