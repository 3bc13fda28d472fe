"""start, stop, restart."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Annotated

import typer

from dicom_adapter import run_file
from dicom_adapter.cli import service
from dicom_adapter.cli.outcome import CliError, ExitCode
from dicom_adapter.cli.output import messages, say, warn
from dicom_adapter.cli.target import FileOption, loaded, reached, warnings
from dicom_adapter.config import ConfigError, Loaded, Settings, default_path, default_text

_TIMEOUT = 60.0  # seconds until an adapter is ready: it may have a crash to recover from
_STOP_MARGIN = 30.0  # seconds beyond the grace that open associations have

TimeoutOption = Annotated[float, typer.Option(help="Seconds to wait until it is ready.", min=1.0)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(start)
    app.command()(stop)
    app.command()(restart)


def start(
    file: FileOption = None,
    foreground: Annotated[bool, typer.Option("--foreground", help="Do not return; log to the terminal.")] = False,
    timeout: TimeoutOption = _TIMEOUT,
) -> None:
    """Start the adapter; returns when it is ready, or says why it is not."""
    path = _configuration(file)
    settings = _runnable(path)
    already = run_file.running(settings.storage.temporary)
    if already is not None:
        message = f"the adapter is already running (process {already.pid}, {already.api})"
        raise CliError(ExitCode.ALREADY_RUNNING, message)
    if foreground:
        gc.disable()  # starting makes next to no garbage, and to look for it took a fifth of the time; `app` enables it
        from dicom_adapter.app import run  # noqa: PLC0415 - the other commands do without the whole adapter

        raise typer.Exit(run(settings))
    _start(path, settings, timeout)


def stop(
    file: FileOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Stop the adapter; open associations may finish first."""
    settings = reached(file)
    running = run_file.running(settings.storage.temporary)
    if running is None:
        raise CliError(ExitCode.NOT_RUNNING, _not_running(file))
    if not yes:
        typer.confirm(f"Stop the adapter (process {running.pid})?", abort=True)
    _stop(settings, running)


def _not_running(file: Path | None) -> str:
    """An adapter is known by its file: one that was started with another is not this one."""
    other = "" if file else "; one that was started with `-f FILE` is stopped with the same"
    return f"the adapter of {file or default_path()} is not running{other}"


def restart(file: FileOption = None, timeout: TimeoutOption = _TIMEOUT) -> None:
    """Stop the adapter if it runs, and start it. A wrong configuration leaves it running."""
    path = _configuration(file)
    settings = _runnable(path)
    running = run_file.running(settings.storage.temporary)
    if running is not None:
        _stop(settings, running)
    _start(path, settings, timeout)


def _start(path: Path, settings: Settings, timeout: float) -> None:
    with messages().status("Starting the adapter") as status:
        started = service.start(
            path, settings.storage.temporary, timeout, tell=lambda why: status.update(f"Starting the adapter: {why}")
        )
    titles = ", ".join(entry.ae_title for entry in settings.dicom.scp.ae_titles)
    listens = f"DICOM port {settings.dicom.scp.port}"
    if not settings.dicom.scp.read_aetitles_from_crd:
        listens += f", AE Titles {titles}"
    say(f"The adapter is ready: {listens}, API {started.api} (process {started.pid}).")
    say(f"Its log: {service.log_path(settings.storage.temporary)}")


def _stop(settings: Settings, running: run_file.RunFile) -> None:
    with messages().status("Stopping the adapter: open associations may finish"):
        service.stop(running, settings.dicom.scp.shutdown_grace + _STOP_MARGIN)
    say("The adapter has stopped.")


def _configuration(file: Path | None) -> Path:
    """The file to start with; the commented default is written where none is."""
    if file is not None:
        return file.absolute()
    path = default_path()
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{os.getpid()}")
            temporary.write_text(default_text(), encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            raise CliError(ExitCode.FAILED, f"cannot write {path}: {error.strerror}") from None
        say(f"There was no configuration: a commented default is now in {path}")
    return path


def _runnable(path: Path) -> Settings:
    found: Loaded = loaded(path)
    for problem in warnings(found):
        warn(f"warning: {problem.render(found.source)}")
    for problem in found.notes:
        warn(f"note: {problem.render(found.source)}")
    try:
        return found.require_runnable()
    except ConfigError as error:
        raise CliError(ExitCode.USAGE, error.render()) from None
