"""Which adapter a command is about: its configuration file, and from that its storage folder and its API."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from dicom_adapter import run_file
from dicom_adapter.cli.client import Client
from dicom_adapter.cli.outcome import CliError, ExitCode
from dicom_adapter.config import ConfigError, Loaded, Settings, default_path, default_text, load, load_text

FileOption = Annotated[
    Path | None,
    typer.Option(
        "--file",
        "-f",
        help="Configuration file. Default: ~/.clara/charts/dicom-adapter/files/dicom-server-config.yaml",
        show_default=False,
    ),
]
ApiOption = Annotated[
    str | None,
    typer.Option("--api", help="Address of the REST API, in place of that of the file.", metavar="URL"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs: the answer as JSON.")]


def loaded(file: Path | None) -> Loaded:
    """The configuration. Where there is no default file yet, what it would hold. Raises CliError."""
    path = file or default_path()
    try:
        if file is None and not path.exists():
            return load_text(default_text(), os.environ, source=str(path), base=path.parent)
        return load(path, os.environ)
    except ConfigError as error:
        raise CliError(ExitCode.USAGE, error.render()) from None


def client(file: Path | None, api: str | None) -> Client:
    """The API to ask: the one named, else that of the running adapter, else that of the file. Raises CliError."""
    if api is not None:
        return Client(api if "://" in api else f"http://{api}")
    settings = loaded(file).settings
    running = run_file.running(settings.storage.temporary)
    return Client(running.api if running else _api_url(settings))


def _api_url(settings: Settings) -> str:
    """Where the API of these settings answers. Raises CliError where only a running adapter could tell."""
    host = settings.api.host
    if settings.api.port == 0:
        message = "the adapter is not running. Start it with `clara dicom start`."
        raise CliError(ExitCode.NOT_RUNNING, message)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.api.port}"
