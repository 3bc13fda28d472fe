"""studies, associations, rejections, batches, jobs, results-tasks, exports: lists, one description each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from dicom_adapter.api import schemas
from dicom_adapter.cli.client import Client
from dicom_adapter.cli.output import duration, moment, print_json, size, table
from dicom_adapter.cli.target import JsonOption, asks

LimitOption = Annotated[int, typer.Option("--limit", "-n", help="How many, newest first.", min=1, max=1000)]
StateOption = Annotated[str | None, typer.Option("--state", help="Only those in this state.")]


@dataclass(frozen=True, slots=True)
class Listing:
    """A list: its name here and in the API, what its items are, and how one is shown. `#` marks columns of numbers."""

    name: str
    help: str
    item: type[schemas.Schema]
    columns: Sequence[str]
    row: Callable[[Any], Sequence[str]]
    has_states: bool = True

    def show(self, asked: Client, limit: int, state: str | None, as_json: bool) -> None:
        """Ask and print."""
        items = asked.get(f"/api/v1/{self.name}", limit=limit, state=state)["items"]
        if as_json:
            print_json(items)
        else:
            table(self.columns, (self.row(self.item.model_validate(item)) for item in items), f"no {self.name}")

    def command(self) -> Callable[..., None]:
        """The command that shows it."""

        @asks
        def with_states(
            asked: Client, limit: LimitOption = 20, state: StateOption = None, as_json: JsonOption = False
        ) -> None:
            self.show(asked, limit, state, as_json)

        @asks
        def without(asked: Client, limit: LimitOption = 20, as_json: JsonOption = False) -> None:
            self.show(asked, limit, None, as_json)

        return with_states if self.has_states else without


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for listing in LISTINGS:
        app.command(listing.name, help=listing.help)(listing.command())


def why(reason: str | None, next_attempt_in: float | None) -> str:
    """Why work waits, and until when."""
    again = f"again in {duration(next_attempt_in)}" if next_attempt_in is not None else None
    return "; ".join(part for part in (reason, again) if part)


def _study(item: schemas.Study) -> Sequence[str]:
    return (
        item.study_instance_uid,
        ", ".join(item.called_ae_titles),
        str(item.series),
        str(item.instances),
        moment(item.last_received_at),
        item.stage,
        item.waits or "",
    )


def _association(item: schemas.Association) -> Sequence[str]:
    return (
        item.id,
        item.calling_ae_title,
        item.peer_host,
        item.called_ae_title,
        moment(item.started_at),
        duration(None if item.ended_at is None else item.ended_at - item.started_at),
        str(item.instances),
        size(item.bytes),
        item.outcome or "open",
        f"{item.refused}, last: {item.refused_why}" if item.refused else "",
    )


def _rejection(item: schemas.Rejection) -> Sequence[str]:
    return (
        item.calling_ae_title,
        item.peer_host,
        item.called_ae_title,
        str(item.times),
        moment(item.last_at),
        item.answer,
        item.why,
    )


def _batch(item: schemas.Batch) -> Sequence[str]:
    closes = "" if item.closes_in is None else f"closes in {duration(item.closes_in)}"
    return (
        item.id,
        item.called_ae_title,
        item.state,
        str(item.instances),
        str(item.studies),
        size(item.bytes),
        moment(item.opened_at),
        item.held_reason or item.reason or closes,
    )


def _job(item: schemas.Job) -> Sequence[str]:
    return (
        item.id,
        item.pipeline_name,
        item.called_ae_title,
        item.state,
        f"{item.attempt} of {item.attempts_allowed}",
        moment(item.created_at),
        duration(None if item.ended_at is None or item.started_at is None else item.ended_at - item.started_at),
        str(item.exports),
        why(item.reason, item.next_attempt_in),
    )


def _results_task(item: schemas.ResultsTask) -> Sequence[str]:
    return (
        item.id,
        item.task_id,
        ", ".join(item.destinations) or "none",
        item.state,
        str(item.files),
        str(item.retries),
        moment(item.created_at),
        "" if item.reported_at is None else moment(item.reported_at),
        why(item.reason, item.next_attempt_in),
    )


def _export(item: schemas.Export) -> Sequence[str]:
    return (
        item.id,
        item.destination,
        item.state,
        str(item.files),
        str(item.delivered),
        str(item.warning),
        str(item.files_failed),
        str(item.attempts),
        moment(item.created_at),
        why(item.reason, item.next_attempt_in),
    )


LISTINGS = (
    Listing(
        "studies",
        "Studies, with where each is and why it waits.",
        schemas.Study,
        ("Study Instance UID", "Received by", "Series#", "Instances#", "Last received", "Stage", "Why"),
        _study,
        has_states=False,
    ),
    Listing(
        "associations",
        "Associations, open ones first.",
        schemas.Association,
        ("Id", "From", "Host", "To", "Began", "Duration#", "Instances#", "Size#", "Outcome", "Refused"),
        _association,
        has_states=False,
    ),
    Listing(
        "rejections",
        "Associations and instances that were turned away since the start, and what to change.",
        schemas.Rejection,
        ("From", "Host", "To", "Times#", "Last", "Answer", "Why"),
        _rejection,
        has_states=False,
    ),
    Listing(
        "batches",
        "Batches: what is handed to pipelines as one.",
        schemas.Batch,
        ("Id", "AE Title", "State", "Instances#", "Studies#", "Size#", "Opened", "Why"),
        _batch,
    ),
    Listing(
        "jobs",
        "Jobs: runs of pipelines.",
        schemas.Job,
        ("Id", "Pipeline", "AE Title", "State", "Attempt#", "Created", "Duration#", "Exports#", "Why"),
        _job,
    ),
    Listing(
        "results-tasks",
        "Tasks of Clara's Results Service: what it gave to be exported.",
        schemas.ResultsTask,
        ("Id", "Task", "Destinations", "State", "Files#", "Retries#", "Created", "Reported", "Why"),
        _results_task,
    ),
    Listing(
        "exports",
        "Exports: files of a job, or of a results task, for a destination.",
        schemas.Export,
        ("Id", "Destination", "State", "Files#", "Delivered#", "Warnings#", "Failed#", "Attempts#", "Created", "Why"),
        _export,
    ),
)
