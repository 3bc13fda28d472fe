"""retry, release: what a person does about work that stopped."""

from __future__ import annotations

import typer

from dicom_adapter.cli.client import Client, match
from dicom_adapter.cli.output import print_json, say
from dicom_adapter.cli.query_commands import IdArgument, ids
from dicom_adapter.cli.target import ApiOption, FileOption, JsonOption, client


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(retry)
    app.command()(release)


def retry(id_: IdArgument, file: FileOption = None, api: ApiOption = None, as_json: JsonOption = False) -> None:
    """Try a failed job or export again, now."""
    asked = client(file, api)
    kind_of = {found: kind for kind in ("job", "export") for found in ids(asked, kind)}
    found = match(id_, iter(kind_of), "job or export")
    _act(asked, f"/api/v1/{kind_of[found]}s/{found}/retry", f"{kind_of[found]} {found} is tried again", as_json)


def release(id_: IdArgument, file: FileOption = None, api: ApiOption = None, as_json: JsonOption = False) -> None:
    """Let a held batch go on."""
    asked = client(file, api)
    found = match(id_, ids(asked, "batch"), "batch")
    _act(asked, f"/api/v1/batches/{found}/release", f"batch {found} goes on", as_json)


def _act(asked: Client, path: str, words: str, as_json: bool) -> None:
    answer = asked.post(path)
    if as_json:
        print_json(answer)
    else:
        say(words)
