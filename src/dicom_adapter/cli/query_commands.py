"""status, studies, study, associations, batches, jobs, job logs, exports: what a running adapter answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import typer

from dicom_adapter.api import schemas
from dicom_adapter.cli.client import Client, match
from dicom_adapter.cli.outcome import CliError, ExitCode
from dicom_adapter.cli.output import count, counts, duration, facts, moment, print_json, printable, say, size, table
from dicom_adapter.cli.target import ApiOption, FileOption, JsonOption, client
from dicom_adapter.core.model import ExportState, JobState
from dicom_adapter.dicom.pdu import AAssociateRJ

LimitOption = Annotated[int, typer.Option("--limit", "-n", help="How many, newest first.", min=1, max=1000)]
StateOption = Annotated[str | None, typer.Option("--state", help="Only those in this state.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning or end of it.")]

Item = TypeVar("Item", bound=schemas.Schema)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (status, studies, study, associations, batches, jobs, exports):
        app.command()(command)
    job = typer.Typer(help="One job.", no_args_is_help=True)
    job.command("logs")(job_logs)
    job.command("show")(job_show)
    app.add_typer(job, name="job")
    export = typer.Typer(help="One export.", no_args_is_help=True)
    export.command("show")(export_show)
    app.add_typer(export, name="export")


def status(file: FileOption = None, api: ApiOption = None, as_json: JsonOption = False) -> None:
    """What the adapter does at this instant. Exit status 3 when it does not run, 1 when it is not ready."""
    answer = client(file, api).get("/api/v1/status")
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
        ("batches", counts(found.batches.items())),
        ("jobs", counts(found.jobs.items())),
        ("exports", counts(found.exports.items())),
    ]
    lines += [(f"fault in {worker.name}", worker.reason) for worker in found.workers if worker.reason]
    facts(lines)


def _since_then(counters: Mapping[str, int]) -> str:
    """associations_accepted: 2, instances: 9, ... -> words, those of one thing together."""
    things: dict[str, list[str]] = {}
    for name, number in counters.items():
        thing, _, what = name.partition("_")
        if not number:
            continue
        if thing == "bytes":
            things.setdefault("instances", []).append(size(number))
        elif what.startswith("rejected_"):
            things.setdefault(thing, []).append(f"{number} rejected ({_rejection(what)})")
        else:
            things.setdefault(thing, []).append(f"{number} {what.replace('_', ' ') or 'received'}")
    return "; ".join(f"{thing}: {', '.join(words)}" for thing, words in things.items()) or "nothing"


def _rejection(counter: str) -> str:
    """rejected_1_1_3 -> the reason as PS3.8 Table 9-21 names it."""
    result, source, reason = (int(number) for number in counter.split("_")[1:])
    return str(AAssociateRJ(result, source, reason)).rpartition(", ")[2]


def studies(
    file: FileOption = None, api: ApiOption = None, limit: LimitOption = 20, as_json: JsonOption = False
) -> None:
    """Studies, with where each is and why it waits."""
    _list(
        client(file, api),
        "/api/v1/studies",
        schemas.Study,
        ("Study Instance UID", "Received by", "Series#", "Instances#", "Last received", "Stage", "Waits"),
        lambda item: (
            item.study_instance_uid,
            ", ".join(item.called_ae_titles),
            str(item.series),
            str(item.instances),
            moment(item.last_received_at),
            item.stage,
            item.waits or "",
        ),
        as_json,
        limit=limit,
    )


def study(
    uid: Annotated[str, typer.Argument(metavar="UID", help="Study Instance UID, or the beginning or end of it.")],
    file: FileOption = None,
    api: ApiOption = None,
    as_json: JsonOption = False,
) -> None:
    """One study's timeline: what happened to it, how long each step took, and why it waits."""
    asked = client(file, api)
    known = (item["studyInstanceUid"] for item in asked.get("/api/v1/studies", limit=1000)["items"])
    try:
        wanted = match(uid, known, "study")
    except CliError as error:
        if error.code is ExitCode.USAGE or not all(one in "0123456789." for one in uid):
            raise
        wanted = uid  # an old one, beyond the list: the API says whether it knows it
    answer = asked.get(f"/api/v1/studies/{wanted}")
    if as_json:
        print_json(answer)
        return
    found = schemas.StudyDetail.model_validate(answer)
    say(f"Study {found.study_instance_uid}")
    say(f"{found.instances} instances in {found.series} series, {size(found.bytes)}, {found.stage}")
    if found.waits:
        say(f"It waits: {found.waits}")
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


def associations(
    file: FileOption = None, api: ApiOption = None, limit: LimitOption = 20, as_json: JsonOption = False
) -> None:
    """Associations, open ones first."""
    _list(
        client(file, api),
        "/api/v1/associations",
        schemas.Association,
        ("Id", "From", "Host", "To", "Began", "Duration#", "Instances#", "Size#", "Outcome"),
        lambda item: (
            item.id,
            item.calling_ae_title,
            item.peer_host,
            item.called_ae_title,
            moment(item.started_at),
            duration(None if item.ended_at is None else item.ended_at - item.started_at),
            str(item.instances),
            size(item.bytes),
            item.outcome or "open",
        ),
        as_json,
        limit=limit,
    )


def batches(
    file: FileOption = None,
    api: ApiOption = None,
    limit: LimitOption = 20,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Batches: what is handed to pipelines as one."""
    _list(
        client(file, api),
        "/api/v1/batches",
        schemas.Batch,
        ("Id", "AE Title", "State", "Instances#", "Studies#", "Size#", "Opened", "Why"),
        lambda item: (
            item.id,
            item.called_ae_title,
            item.state,
            str(item.instances),
            str(item.studies),
            size(item.bytes),
            moment(item.opened_at),
            item.held_reason or item.reason or _closes(item.closes_in),
        ),
        as_json,
        limit=limit,
        state=state,
    )


def _closes(seconds: float | None) -> str:
    return "" if seconds is None else f"closes in {duration(seconds)}"


def jobs(
    file: FileOption = None,
    api: ApiOption = None,
    limit: LimitOption = 20,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Jobs: runs of pipelines."""
    _list(
        client(file, api),
        "/api/v1/jobs",
        schemas.Job,
        ("Id", "Pipeline", "AE Title", "State", "Attempt#", "Created", "Duration#", "Exports#", "Why"),
        lambda item: (
            item.id,
            item.pipeline_name,
            item.called_ae_title,
            item.state,
            f"{item.attempt} of {item.attempts_allowed}",
            moment(item.created_at),
            duration(None if item.ended_at is None or item.started_at is None else item.ended_at - item.started_at),
            str(item.exports),
            _why(item.reason, item.next_attempt_in),
        ),
        as_json,
        limit=limit,
        state=state,
    )


def exports(
    file: FileOption = None,
    api: ApiOption = None,
    limit: LimitOption = 20,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Exports: files of a job for a destination."""
    _list(
        client(file, api),
        "/api/v1/exports",
        schemas.Export,
        ("Id", "Destination", "State", "Files#", "Delivered#", "Warnings#", "Failed#", "Attempts#", "Created", "Why"),
        lambda item: (
            item.id,
            item.destination,
            item.state,
            str(item.files),
            str(item.delivered),
            str(item.warning),
            str(item.files_failed),
            str(item.attempts),
            moment(item.created_at),
            _why(item.reason, item.next_attempt_in),
        ),
        as_json,
        limit=limit,
        state=state,
    )


def _why(reason: str | None, next_attempt_in: float | None) -> str:
    again = f"again in {duration(next_attempt_in)}" if next_attempt_in is not None else None
    return "; ".join(part for part in (reason, again) if part)


def job_logs(id_: IdArgument, file: FileOption = None, api: ApiOption = None, as_json: JsonOption = False) -> None:
    """What a job's last attempt wrote to stdout and stderr."""
    asked = client(file, api)
    answer = asked.get(f"/api/v1/jobs/{find(asked, id_, 'job')}/logs")
    if as_json:
        print_json(answer)
        return
    found = schemas.JobLogs.model_validate(answer)
    say(f"job {found.job}, attempt {found.attempt}")
    for name, text in (("stdout", found.stdout), ("stderr", found.stderr)):
        say(f"--- {name}" if text else f"--- {name} (empty)")
        if text:
            say(printable(text).rstrip("\n"))


def job_show(id_: IdArgument, file: FileOption = None, api: ApiOption = None, as_json: JsonOption = False) -> None:
    """One job, with the result files that went to quarantine."""
    asked = client(file, api)
    answer = asked.get(f"/api/v1/jobs/{find(asked, id_, 'job')}")
    if as_json:
        print_json(answer)
        return
    found = schemas.JobDetail.model_validate(answer)
    say(f"job {found.id} of batch {found.batch_id}: pipeline {found.pipeline_name}, {found.state}")
    if why := _why(found.reason, found.next_attempt_in):
        say(why)
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


def export_show(id_: IdArgument, file: FileOption = None, api: ApiOption = None, as_json: JsonOption = False) -> None:
    """One export, with what became of each file."""
    asked = client(file, api)
    answer = asked.get(f"/api/v1/exports/{find(asked, id_, 'export')}")
    if as_json:
        print_json(answer)
        return
    found = schemas.ExportDetail.model_validate(answer)
    tries = count(found.attempts, "attempt")
    say(f"export {found.id} of job {found.job_id} to {found.destination}: {found.state}, {tries}")
    if why := _why(found.reason, found.next_attempt_in):
        say(why)
    if found.state == ExportState.FAILED:
        say(f"To try it again: `clara dicom retry {found.id}`.")
    table(
        ("No#", "SOP Instance UID", "State", "Status", "Why"),
        (
            (str(one.number), one.sop_instance_uid, one.state, one.status or "", one.reason or "")
            for one in found.outcomes
        ),
        "it has no files",
    )


def find(asked: Client, reference: str, *nouns: str) -> str:
    """The full id of the job, export or batch that is meant."""
    return match(reference, ids(asked, *nouns), " or ".join(nouns))


def ids(asked: Client, *nouns: str) -> Iterator[str]:
    """Every id of these kinds."""
    plural = {"job": "jobs", "export": "exports", "batch": "batches"}
    for noun in nouns:
        yield from (str(item["id"]) for item in asked.every(f"/api/v1/{plural[noun]}"))


def _list(
    asked: Client,
    path: str,
    kind: type[Item],
    columns: Sequence[str],
    row: Callable[[Item], Sequence[str]],
    as_json: bool,
    **parameters: Any,
) -> None:
    answer = asked.get(path, **parameters)
    if as_json:
        print_json(answer["items"])
        return
    noun = path.rpartition("/")[2]
    table(columns, (row(kind.model_validate(item)) for item in answer["items"]), f"no {noun}")
