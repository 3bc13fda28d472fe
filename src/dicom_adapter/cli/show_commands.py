"""status, study, job show, job logs, export show: one thing of a running adapter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import typer

from dicom_adapter.api import schemas
from dicom_adapter.cli.client import Client
from dicom_adapter.cli.ids import IdArgument, find, find_study
from dicom_adapter.cli.list_commands import why
from dicom_adapter.cli.outcome import ExitCode
from dicom_adapter.cli.output import count, counts, duration, facts, moment, print_json, printable, say, size, table
from dicom_adapter.cli.target import JsonOption, asks
from dicom_adapter.core.model import ExportState, JobState
from dicom_adapter.core.whereabouts import Stage
from dicom_adapter.dicom.pdu import AAssociateRJ
from dicom_adapter.dicom.status import words


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(status)
    app.command()(study)
    job = typer.Typer(help="One job.", no_args_is_help=True)
    job.command("logs")(job_logs)
    job.command("show")(job_show)
    app.add_typer(job, name="job")
    export = typer.Typer(help="One export.", no_args_is_help=True)
    export.command("show")(export_show)
    app.add_typer(export, name="export")


@asks
def status(asked: Client, as_json: JsonOption = False) -> None:
    """What the adapter does at this instant. Exit status 3 when it does not run, 1 when it is not ready."""
    answer = asked.get("/api/v1/status")
    found = schemas.Status.model_validate(answer)
    if as_json:
        print_json(answer)
    else:
        _print_status(found)
    raise typer.Exit(ExitCode.OK if found.ready else ExitCode.FAILED)


def _print_status(found: schemas.Status) -> None:
    scp, storage = found.scp, found.storage
    state = "ready" if found.ready else f"not ready: {'; '.join(found.not_ready)}"
    room = (
        "accepting"
        if storage.accepting
        else f"{size(storage.reserved_bytes)} must stay free: new associations are rejected"
    )
    lines = [
        ("adapter", f"{state} (version {found.version}, since {moment(found.started_at)})"),
        (
            "SCP",
            f"port {scp.port}, {'listening' if scp.listening else 'not listening'}, "
            f"{scp.open_associations} of {scp.max_associations} associations, "
            f"AE Titles {', '.join(scp.ae_titles) or 'none'}",
        ),
        ("since then", _since_then(scp.counters)),
        ("storage", f"{storage.path}: {size(storage.free_bytes)} free, {room}"),
        *(("resources", line) for line in _places(found.resources)),
        ("batches", counts(found.batches.items())),
        ("jobs", counts(found.jobs.items())),
        ("exports", counts(found.exports.items())),
    ]
    if found.results_service is not None:
        lines += [
            ("results tasks", counts(found.results_tasks.items())),
            ("Results Service", _polling(found.results_service)),
        ]
    lines += [(f"fault in {worker.name}", worker.reason) for worker in found.workers if worker.reason]
    facts(lines)


def _places(resources: Sequence[schemas.Resources]) -> Iterator[str]:
    """A line for each place that resources come from, with the kinds that do."""
    for place in dict.fromkeys(one.place for one in resources):
        there = [one for one in resources if one.place == place]
        yield f"{', '.join(one.kind for one in there)}: {place}"
        yield from dict.fromkeys(
            f"stale since {moment(one.stale_since)}, the last known go on serving: {one.reason}"
            for one in there
            if one.stale_since is not None
        )


def _polling(service: schemas.ResultsService) -> str:
    """How the Results Service is polled, in words."""
    told = f"{service.endpoint} {service.state} as {service.agent} since {moment(service.since)}"
    if service.reason:
        told += f": {service.reason}"
    return told + (f"; {count(service.unreported, 'task')} not reported yet" if service.unreported else "")


def _since_then(counters: Mapping[str, int]) -> str:
    """associations_accepted: 2, instances: 9, ... -> what happened, of one thing together."""
    things: dict[str, list[str]] = {}
    for name, number in counters.items():
        thing, _, what = name.partition("_")
        if not number:
            continue
        if thing == "bytes":
            things.setdefault("instances", []).append(size(number))
        elif thing == "failures":
            things.setdefault(thing, []).append(f"{number} {words(int(what, 16))}")
        elif what.startswith("rejected_"):
            things.setdefault(thing, []).append(f"{number} rejected ({_rejection(what)})")
        else:
            things.setdefault(thing, []).append(f"{number} {what.replace('_', ' ') or 'received'}")
    return "; ".join(f"{thing}: {', '.join(told)}" for thing, told in things.items()) or "nothing"


def _rejection(counter: str) -> str:
    """rejected_1_1_3 -> the reason as PS3.8 Table 9-21 names it."""
    result, source, reason = (int(number) for number in counter.split("_")[1:])
    return str(AAssociateRJ(result, source, reason)).rpartition(", ")[2]


@asks
def study(
    asked: Client,
    uid: Annotated[str, typer.Argument(metavar="UID", help="Study Instance UID, or the beginning or end of it.")],
    as_json: JsonOption = False,
) -> None:
    """One study's timeline: what happened to it, how long each step took, and why it waits."""
    answer = asked.get(find_study(asked, uid))
    if as_json:
        print_json(answer)
        return
    found = schemas.StudyDetail.model_validate(answer)
    say(f"Study {found.study_instance_uid}")
    say(f"{found.instances} instances in {found.series} series, {size(found.bytes)}, {found.stage}")
    if found.waits:
        say(found.waits if found.stage == Stage.DONE else f"It waits: {found.waits}")
    table(
        ("Time", "Duration#", "What", "Id", "State", ""),
        (
            (moment(entry.at), _lasting(entry), entry.kind, entry.id, entry.state, entry.text)
            for entry in found.timeline
        ),
        "nothing has happened yet",
    )


def _lasting(entry: schemas.TimelineEntry) -> str:
    return "..." if entry.duration is None else duration(entry.duration)


@asks
def job_logs(asked: Client, id_: IdArgument, as_json: JsonOption = False) -> None:
    """What a job's last attempt wrote to stdout and stderr."""
    path = find(asked, id_, "job")
    answer = asked.get(f"{path}/logs")
    if as_json:
        print_json(answer)
        return
    found = schemas.JobLogs.model_validate(answer)
    job = schemas.Job.model_validate(asked.get(path))
    say(f"job {found.job}, attempt {found.attempt}: {job.state}")
    if waits := why(job.reason, job.next_attempt_in):  # a command that did not start has written nothing
        say(waits)
    if found.elsewhere is not None:
        say(found.elsewhere)
        return
    for name, text in (("stdout", found.stdout), ("stderr", found.stderr)):
        say(f"--- {name}" if text else f"--- {name} (empty)")
        if text:
            say(printable(text).rstrip("\n"))


@asks
def job_show(asked: Client, id_: IdArgument, as_json: JsonOption = False) -> None:
    """One job, with the result files that went to quarantine."""
    answer = asked.get(find(asked, id_, "job"))
    if as_json:
        print_json(answer)
        return
    found = schemas.JobDetail.model_validate(answer)
    say(f"job {found.id} of batch {found.batch_id}: pipeline {found.pipeline_name}, {found.state}")
    if waits := why(found.reason, found.next_attempt_in):
        say(waits)
    if found.state == JobState.FAILED:
        say(f"What it wrote: `clara dicom job logs {found.id}`. To try it again: `clara dicom retry {found.id}`.")
    if found.quarantined_files:
        storage = asked.get("/api/v1/status")["storage"]["path"]
        say(f"In quarantine, below {storage} (reasons.json there tells the names that the pipeline gave):")
    table(
        ("No#", "File", "Why it was sent nowhere"),
        ((str(one.number), one.path, one.reason) for one in found.quarantined_files),
        "no result file is in quarantine",
    )


@asks
def export_show(asked: Client, id_: IdArgument, as_json: JsonOption = False) -> None:
    """One export, with what became of each file."""
    answer = asked.get(find(asked, id_, "export"))
    if as_json:
        print_json(answer)
        return
    found = schemas.ExportDetail.model_validate(answer)
    tries = count(found.attempts, "attempt")
    origin = f"job {found.job_id}" if found.job_id else f"results task {found.results_task_id}"
    say(f"export {found.id} of {origin} to {found.destination}: {found.state}, {tries}")
    if waits := why(found.reason, found.next_attempt_in):
        say(waits)
    if found.state == ExportState.FAILED:
        say(f"To try it again: `clara dicom retry {found.id}`.")
    table(
        ("No#", "SOP Instance UID", "State", "Status", "Why"),
        (
            (str(one.number), one.sop_instance_uid or "", one.state, one.status or "", one.reason or "")
            for one in found.outcomes
        ),
        "it has no files",
    )
