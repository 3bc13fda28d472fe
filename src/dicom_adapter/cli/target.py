"""Which adapter a command is about: its configuration file, and from that its storage folder, its API and its token."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from dicom_adapter import run_file
from dicom_adapter.cli.client import Client
from dicom_adapter.cli.outcome import CliError, ExitCode
from dicom_adapter.cli.output import warn
from dicom_adapter.config import (
    ConfigError,
    Loaded,
    Problem,
    Settings,
    default_path,
    default_text,
    fields,
    load,
    load_text,
)
from dicom_adapter.config.api_token import api_token, read_token
from dicom_adapter.core.errors import PermanentError

TOKEN_VARIABLE = "CLARA_DICOM_TOKEN"

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
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        help=f"File with the API's token. Default: the variable {TOKEN_VARIABLE}, else what the configuration says.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs: the answer as JSON.")]


def loaded(file: Path | None) -> Loaded:
    """The configuration. Where there is no default file yet, what it would hold. Raises CliError."""
    try:
        return _load(file)
    except ConfigError as error:
        raise CliError(ExitCode.USAGE, error.render()) from None


def reached(file: Path | None) -> Settings:
    """By which a running adapter is found. A file that is wrong elsewhere does as well. Raises CliError."""
    try:
        return _load(file).settings
    except ConfigError as error:
        if error.reachable is None:
            raise CliError(ExitCode.USAGE, error.render()) from None
        warn(f"warning: no adapter would start with this file any more: `clara dicom config check {error.source}`")
        return error.reachable


def _load(file: Path | None) -> Loaded:
    path = file or default_path()
    if file is None and not path.exists():
        return load_text(default_text(), os.environ, source=str(path), base=path.parent)
    return load(path, os.environ)


def warnings(found: Loaded) -> list[Problem]:
    """What does not keep the adapter from starting, processors that are not installed among it: loads them."""
    from dicom_adapter.config.rules import missing_processors  # noqa: PLC0415 - for two commands only
    from dicom_adapter.processors.registry import why_missing  # noqa: PLC0415 - the same

    return [*found.warnings, *found.locate(missing_processors(found.settings, why_missing))]


def asks(command: Callable[..., None]) -> Callable[..., None]:
    """A command over the API: its first parameter is the Client, and the options that find it take its place."""

    @functools.wraps(command)
    def run(*, file: Path | None, api: str | None, token_file: Path | None, **arguments: Any) -> None:
        asked = client(file, api, token_file)
        try:
            command(asked, **arguments)
        finally:
            asked.close()

    options = {"file": (FileOption, None), "api": (ApiOption, None), "token_file": (TokenFileOption, None)}
    signature = with_options(command, options)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values()][1:])  # type: ignore[attr-defined]
    return run


def with_options(command: Callable[..., Any], options: Mapping[str, tuple[Any, object]]) -> inspect.Signature:
    """The signature of a command with more options, by name: each with its annotation and its default."""
    own = inspect.signature(command, eval_str=True).parameters.values()
    keyword = inspect.Parameter.KEYWORD_ONLY
    more = [
        inspect.Parameter(name, keyword, annotation=annotation, default=default)
        for name, (annotation, default) in options.items()
    ]
    return inspect.Signature([*(parameter.replace(kind=keyword) for parameter in own), *more])


def client(file: Path | None, api: str | None, token_file: Path | None = None) -> Client:
    """The API to ask: the one named, else that of the running adapter, else that of the file. Raises CliError."""
    if api is not None:
        # The token of a configuration is for its own adapter: an address gets it only with the file that has it.
        configured = None if file is None else reached(file)
        return Client(api if "://" in api else f"http://{api}", _token(token_file, configured))
    settings = reached(file)
    running = run_file.running(settings.storage.temporary)
    return Client(running.api if running else _api_url(settings), _token(token_file, settings))


def _token(token_file: Path | None, settings: Settings | None) -> str | None:
    try:
        if token_file is not None:
            return read_token(token_file)
        if TOKEN_VARIABLE in os.environ:
            return fields.token(os.environ[TOKEN_VARIABLE])
        return None if settings is None else api_token(settings.api)
    except PermanentError as error:
        raise CliError(ExitCode.USAGE, str(error)) from None
    except ValueError:
        raise CliError(ExitCode.USAGE, f"{TOKEN_VARIABLE} holds no token: {fields.TOKEN_WORDS}") from None


def _api_url(settings: Settings) -> str:
    """Where the API of these settings answers. Raises CliError where only a running adapter could tell."""
    host = settings.api.host
    if settings.api.port == 0:
        message = "the adapter is not running. Start it with `clara dicom start`."
        raise CliError(ExitCode.NOT_RUNNING, message)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.api.port}"
