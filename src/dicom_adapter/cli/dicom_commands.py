"""send, echo: the adapter's own SCU for people. They need no running adapter and no configuration."""

from __future__ import annotations

import os
import stat
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dicom_adapter.cli.outcome import CliError, ExitCode
from dicom_adapter.cli.output import messages, print_json, say, table
from dicom_adapter.cli.target import JsonOption
from dicom_adapter.config import fields
from dicom_adapter.config.schema import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_adapter.core.model import DeliveryState, FileOutcome
from dicom_adapter.dicom.status import words as status_words
from dicom_adapter.net.connection import Timeouts
from dicom_adapter.net.errors import AssociationEnded, AssociationRejected
from dicom_adapter.scu.requestor import Peer, RequestorSettings, rejection_in_words
from dicom_adapter.scu.verification import echo as verify

_SHOWN_FAILURES = 20

PeerArgument = Annotated[str, typer.Argument(metavar="AE@HOST:PORT", help="Whom to call, as ARCHIVE@10.20.30.40:104.")]
CallingOption = Annotated[str, typer.Option("--calling", "-c", metavar="AE", help="The AE Title that calls.")]
TimeoutOption = Annotated[float, typer.Option(help="Seconds to wait for each answer.", min=0.1)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(send)
    app.command()(echo)


def parse_peer(text: str) -> Peer:
    """AE@host:port, with an IPv6 address in brackets. Raises CliError."""
    title, _, address = text.rpartition("@")
    host, _, port = address.rpartition(":")
    try:
        peer = Peer(fields.ae_title(title), fields.host(host.removeprefix("[").removesuffix("]")), int(port))
        if not 1 <= peer.port <= 65535:
            raise ValueError("not a port")
    except ValueError:
        message = f"{text!r} is no AE@HOST:PORT: for example ARCHIVE@10.20.30.40:104, or ARCHIVE@[::1]:104"
        raise CliError(ExitCode.USAGE, message) from None
    return peer


def echo(
    peer: PeerArgument, calling: CallingOption = "ClaraSCU", timeout: TimeoutOption = 10.0, as_json: JsonOption = False
) -> None:
    """Ask a peer whether it answers (C-ECHO)."""
    called = parse_peer(peer)
    started = time.monotonic()
    try:
        status = verify(_settings(calling, timeout), called)
    except AssociationRejected as rejected:
        raise CliError(ExitCode.FAILED, rejection_in_words(rejected.rj, calling, called.ae_title)) from None
    except AssociationEnded as ended:
        raise CliError(ExitCode.FAILED, str(ended)) from None
    seconds = time.monotonic() - started
    if as_json:
        print_json({"peer": str(called), "status": f"{status:04X}H", "seconds": round(seconds, 6)})
    else:
        say(f"{called} answers {status_words(status)} after {seconds * 1000:.0f} ms")
    raise typer.Exit(ExitCode.FAILED if status else ExitCode.OK)


def send(
    peer: PeerArgument,
    files: Annotated[list[Path], typer.Argument(metavar="FILES...", help="DICOM files, or folders of them.")],
    calling: CallingOption = "ClaraSCU",
    timeout: TimeoutOption = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Send DICOM files to a peer (C-STORE), as they are. Exit status 1 if any was not stored."""
    from dicom_adapter.scu.storage import StorageScu  # noqa: PLC0415 - takes a third of a second, which other commands save

    called = parse_peer(peer)
    paths = list(_expand(files))
    scu = StorageScu(_settings(calling, timeout), Path())
    outcomes: list[FileOutcome] = []
    started = time.monotonic()
    with _progress() as progress:
        task = progress.add_task(f"Sending to {called}", total=len(paths))

        def on_outcome(outcome: FileOutcome) -> None:
            outcomes.append(outcome)
            progress.advance(task)

        scu.send(called, enumerate(paths), on_outcome)
    report = Report(called, paths, outcomes, time.monotonic() - started)
    if as_json:
        print_json(report.as_json())
    else:
        report.print()
    raise typer.Exit(ExitCode.FAILED if report.failed else ExitCode.OK)


@dataclass(frozen=True, slots=True)
class Report:
    """What became of the files of one `send`."""

    peer: Peer
    paths: Sequence[Path]
    outcomes: Sequence[FileOutcome]
    seconds: float

    @property
    def failed(self) -> list[FileOutcome]:
        """Those that were not stored."""
        return [outcome for outcome in self.outcomes if outcome.state is DeliveryState.FAILED]

    def print(self) -> None:
        """For people: a reason that many files share stands once."""
        stored = len(self.outcomes) - len(self.failed)
        say(f"{stored} of {len(self.outcomes)} files stored by {self.peer} in {self.seconds:.1f} s")
        warned = [outcome for outcome in self.outcomes if outcome.state is DeliveryState.WARNING]
        reasons = Counter(outcome.reason or "" for outcome in self.failed)
        if len(reasons) == 1 and len(self.failed) > 1:
            say(f"all {len(self.failed)} failed: {next(iter(reasons))}")
        else:
            self._print_table("not stored, because", self.failed)
        self._print_table("stored, with a warning", warned)

    def _print_table(self, heading: str, outcomes: Sequence[FileOutcome]) -> None:
        if outcomes:
            rows = [(str(self.paths[outcome.number]), outcome.reason or "") for outcome in outcomes[:_SHOWN_FAILURES]]
            table(("File", heading), rows, "")
        if len(outcomes) > _SHOWN_FAILURES:
            say(f"and {len(outcomes) - _SHOWN_FAILURES} more; --json lists all")

    def as_json(self) -> dict[str, Any]:
        """For programs: every file."""
        return {
            "peer": str(self.peer),
            "seconds": round(self.seconds, 6),
            "files": [
                {
                    "file": str(self.paths[outcome.number]),
                    "state": outcome.state.value,
                    "status": None if outcome.status is None else f"{outcome.status:04X}H",
                    "reason": outcome.reason,
                }
                for outcome in self.outcomes
            ],
        }


def _settings(calling: str, timeout: float) -> RequestorSettings:
    try:
        title = fields.ae_title(calling)
    except ValueError:
        raise CliError(ExitCode.USAGE, f"{calling!r} is no AE Title: 1 to 16 printable ASCII characters") from None
    return RequestorSettings(
        ae_title=title,
        implementation_class_uid=IMPLEMENTATION_CLASS_UID,
        implementation_version_name=IMPLEMENTATION_VERSION_NAME,
        timeouts=Timeouts(connect=min(timeout, 10.0), response=timeout),
    )


def _expand(arguments: Sequence[Path]) -> Iterator[Path]:
    """The files, and every regular file below the folders, in order. Raises CliError for what is not there."""
    for argument in arguments:
        if argument.is_dir():
            inside = sorted(_files_below(argument))
            if not inside:
                raise CliError(ExitCode.USAGE, f"{argument} holds no file")
            yield from inside
        elif argument.exists():
            yield argument.resolve()  # a link that a person names is meant; the SCU itself follows none
        else:
            raise CliError(ExitCode.USAGE, f"{argument} does not exist")


def _files_below(folder: Path) -> Iterator[Path]:
    """Unlike Path.rglob, it leaves out nothing that cannot be read: a study sent in part would pass for the whole."""
    try:
        for parent, _, names in os.walk(folder, onerror=_raise):
            yield from (path for name in names if stat.S_ISREG((path := Path(parent, name)).lstat().st_mode))
    except OSError as error:
        raise CliError(ExitCode.USAGE, f"{error.filename} cannot be read: {error.strerror}") from None


def _raise(error: OSError) -> None:
    raise error


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=messages(),
        transient=True,
    )
