"""A study's timeline: everything that happened to it, in order, each with its duration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from dicom_adapter.api.schemas import TimelineEntry
from dicom_adapter.store import queries
from dicom_adapter.store.queries import Page, Row

_ALL = Page(limit=1000)


def timeline(connection: Connection, study: str) -> tuple[TimelineEntry, ...]:
    """The entries of one study, oldest first."""
    batches = queries.list_batches(connection, _ALL, study)
    jobs = queries.list_jobs(connection, _ALL, [row["id"] for row in batches])
    tasks = queries.list_results_tasks(connection, _ALL, [row["id"] for row in jobs])
    exports = queries.list_exports(connection, _ALL, [row["id"] for row in jobs])
    entries = [
        *map(_association, queries.list_associations(connection, _ALL, study)),
        *map(_batch, batches),
        *map(_job, jobs),
        *map(_results_task, tasks),
        *map(_export, exports),
    ]
    return tuple(sorted(entries, key=lambda entry: entry.at))


def _association(row: Row) -> TimelineEntry:
    sent = _count(row["instances"], "instance")
    text = f"{row['calling_ae_title']} at {row['peer_host']} sent {sent} to {row['called_ae_title']}"
    if row["refused"]:
        text += f"; {row['refused']} refused, the last with {row['refused_why']}"
    return _entry(row, "association", row["started_at"], row["ended_at"], row["outcome"], text)


def _batch(row: Row) -> TimelineEntry:
    text = f"{_count(row['instances'], 'instance')} of {_count(row['studies'], 'study', 'studies')}"
    if row["superseded"]:  # `overwrite-same-instance` says which of those with one SOP Instance UID is used
        text += f"; {_count(row['superseded'], 'copy', 'copies')} of the same instances not used"
    return _entry(
        row,
        "batch",
        row["opened_at"],
        row["closed_at"] or row["ended_at"],
        row["state"],
        _with_reason(text, row, "held_reason"),
    )


def _job(row: Row) -> TimelineEntry:
    parts = [f"pipeline {row['pipeline_name']}"]
    if row["attempt"] > 1 and not row["reason"]:  # the reason of a failed attempt names it
        parts.append(f"attempt {row['attempt']}")
    if row["quarantined"]:
        parts.append(f"{_count(row['quarantined'], 'result file')} in quarantine")
    text = _with_reason(", ".join(parts), row, "reason")
    return _entry(row, "job", row["started_at"] or row["created_at"], row["ended_at"], row["state"], text)


def _results_task(row: Mapping[Any, Any]) -> TimelineEntry:
    told = "reported" if row["reported_at"] else "not reported yet"
    parts = [f"{_count(row['files'], 'file')} for {', '.join(row['destinations']) or 'no destination'}"]
    if row["retries"]:
        parts.append(_count(row["retries"], "retry", "retries"))
    if row["ended_at"]:
        parts.append(told)
    text = _with_reason(", ".join(parts), row, "reason")
    return _entry(row, "results task", row["created_at"], row["ended_at"], row["state"], text)


def _export(row: Row) -> TimelineEntry:
    text = f"{row['delivered'] + row['warning']} of {_count(row['files'], 'file')} delivered to {row['destination']}"
    return _entry(row, "export", row["created_at"], row["ended_at"], row["state"], _with_reason(text, row, "reason"))


def _entry(row: Mapping[Any, Any], kind: str, at: float, until: float | None, state: str, text: str) -> TimelineEntry:
    duration = None if until is None else max(0.0, until - at)
    return TimelineEntry(at=at, duration=duration, kind=kind, id=row["id"], state=state, text=text)


def _with_reason(text: str, row: Mapping[Any, Any], column: str) -> str:
    return f"{text}: {row[column]}" if row[column] else text


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
