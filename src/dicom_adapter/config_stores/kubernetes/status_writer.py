"""Writes the status of each resource into the cluster, where it differs from what stands there.

Several adapters may serve from the same resources. Each writes with the resourceVersion that it has seen, so that only
one of two is taken; and where another version of the adapter comes to another verdict on the same generation, each
writes its own once and then leaves it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import structlog

from dicom_adapter.config.acceptance import condition_of, same_verdict
from dicom_adapter.config.resources import Condition, Kind, Resource
from dicom_adapter.config.store import ConflictError, NotFoundError
from dicom_adapter.config_stores.kubernetes.client import Client, Item

log = structlog.get_logger("kubernetes")


class StatusWriter:
    """See the module."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._written: dict[str, Condition] = {}  # by uid: the last that we wrote

    async def write(self, kind: Kind, resources: Iterable[Resource], items: Mapping[str, Item]) -> None:
        """Bring the verdicts on these resources, which were made of these items, to the cluster. Raises ClusterAway."""
        for resource in resources:
            item = items.get(resource.metadata.name)
            if item is not None and self._is_due(resource, item.get("status")):
                await self._write(kind, resource, item)

    def forget_all_but(self, uids: Iterable[str]) -> None:
        """Remember nothing of resources other than these."""
        self._written = {uid: self._written[uid] for uid in uids if uid in self._written}

    def _is_due(self, resource: Resource, shown: object) -> bool:
        (ours,) = resource.status.conditions
        there = condition_of(shown)
        if there is None or there.observed_generation != ours.observed_generation:
            return True
        if same_verdict(there, ours) and isinstance(shown, dict) and shown.get("Enabled") is resource.status.enabled:
            return False
        return not same_verdict(self._written.get(resource.metadata.uid), ours)

    async def _write(self, kind: Kind, resource: Resource, item: Item) -> None:
        name, version = resource.metadata.name, resource.metadata.resource_version
        (ours,) = resource.status.conditions
        status = resource.status.model_dump(mode="json")
        status["conditions"] = [*_of_others(item.get("status")), *status["conditions"]]
        try:
            await self._client.patch_status(kind, name, version, status)
        except (ConflictError, NotFoundError):
            return  # it has changed since: the watch brings the change, and it is judged anew
        self._written[resource.metadata.uid] = ours
        log.info("status written", kind=kind.value, name=name, accepted=ours.status, why=ours.message)


def _of_others(status: object) -> list[object]:
    """Conditions that are not ours: a merge patch replaces the whole list."""
    conditions = status.get("conditions") if isinstance(status, dict) else None
    return [
        each
        for each in (conditions if isinstance(conditions, list) else [])
        if isinstance(each, dict) and each.get("type") != "Accepted"
    ]
