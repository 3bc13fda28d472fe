"""What the routes need of the running adapter. `app` hands it over; tests hand over another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dicom_adapter.api.schemas import Association, Rejection, Resources, ResultsService, Scp, Storage, Worker
from dicom_adapter.clock import Clock
from dicom_adapter.config.resources import Kind
from dicom_adapter.config.store import ConfigStore
from dicom_adapter.core.snapshot import ClaraAeTitle
from dicom_adapter.store.database import Database


class Live(Protocol):
    """The parts of the adapter that are no rows."""

    @property
    def started_at(self) -> float: ...

    def scp(self) -> Scp: ...

    def storage(self) -> Storage: ...

    def workers(self) -> Sequence[Worker]: ...

    def results_service(self) -> ResultsService | None:
        """How Clara's Results Service is polled; None where none is."""
        ...

    def open_associations(self) -> Sequence[Association]: ...

    def rejections(self) -> Sequence[Rejection]:
        """Who was turned away since the start, the latest first."""
        ...

    def not_ready(self) -> Sequence[str]:
        """Why it cannot take a study at this instant, in words; empty when it can."""
        ...

    def log_files(self, job_id: str) -> Mapping[str, Path]:
        """stdout and stderr of the job's last attempt."""
        ...

    def logs_elsewhere(self, job_id: str) -> str | None:
        """In words, where the logs of a job are that did not run on this machine, or that they were removed."""
        ...

    async def cancel_job(self, job_id: str) -> bool: ...

    def ae_title(self, called: str) -> ClaraAeTitle | None:
        """The Clara AE Title as it is configured now."""
        ...

    def destinations(self) -> Sequence[str]:
        """The names of the destinations that are configured now."""
        ...

    def tries_of(self, pipeline_id: str) -> int:
        """How often a job of the pipeline is tried in all."""
        ...


@dataclass(frozen=True, slots=True)
class View:
    """`wake` tells the workers that something changed. `resources`: the store that serves a kind."""

    database: Database
    clock: Clock
    live: Live
    wake: Callable[[], None]
    resources: Callable[[Kind], ConfigStore]


def resources_of(view: View) -> tuple[Resources, ...]:
    """Where the resources of each kind are, and whether what is in force is known to be the same."""
    return tuple(_resources(kind, view.resources(kind)) for kind in Kind)


def _resources(kind: Kind, store: ConfigStore) -> Resources:
    stale = store.stale()
    return Resources(
        kind=kind.value,
        store=store.name,
        place=store.place,
        stale_since=stale.since if stale else None,
        reason=stale.reason if stale else None,
    )
