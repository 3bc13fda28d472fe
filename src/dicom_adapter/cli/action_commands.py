"""retry, cancel, release, drop, resend: what a person does about work."""

from __future__ import annotations

from typing import Annotated

import typer

from dicom_adapter.cli.client import Client
from dicom_adapter.cli.ids import IdArgument, find, find_study, is_uid
from dicom_adapter.cli.output import print_json, say
from dicom_adapter.cli.target import JsonOption, asks

_TRIED = ("job", "export", "results task")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (retry, cancel, release, drop, resend):
        app.command()(command)


@asks
def retry(asked: Client, id_: IdArgument, as_json: JsonOption = False) -> None:
    """Try a failed job, export or results task again, now."""
    _act(asked, find(asked, id_, *_TRIED), "retry", "is tried again", as_json)


@asks
def cancel(asked: Client, id_: IdArgument, as_json: JsonOption = False) -> None:
    """End a job, with its process, or give a failed job, an export or a results task up: for good, unless retried."""
    _act(asked, find(asked, id_, *_TRIED), "cancel", "is canceled", as_json)


@asks
def release(asked: Client, id_: IdArgument, as_json: JsonOption = False) -> None:
    """Let a held batch go on."""
    _act(asked, find(asked, id_, "batch"), "release", "goes on", as_json)


@asks
def drop(asked: Client, id_: IdArgument, as_json: JsonOption = False) -> None:
    """Give a held batch up: its files are removed after storage.retention."""
    _act(asked, find(asked, id_, "batch"), "drop", "is dropped", as_json)


@asks
def resend(
    asked: Client,
    reference: Annotated[
        str, typer.Argument(metavar="ID|UID", help="An export's id, or a Study Instance UID; or a part of it.")
    ],
    destination: Annotated[str, typer.Argument(metavar="DESTINATION", help="The name of a destination.")],
    as_json: JsonOption = False,
) -> None:
    """Send the files of an export, or all results in a study, to a destination: the same again, or another."""
    path = find_study(asked, reference) if is_uid(reference) else find(asked, reference, "export")
    answer = asked.post(f"{path}/resend", {"destination": destination})
    if as_json:
        print_json(answer)
    else:
        exports = ", ".join(answer["exports"])
        say(f"queued for {answer['destination']} as export {exports}: `clara dicom export show ID` tells how it goes")


def _act(asked: Client, path: str, action: str, words: str, as_json: bool) -> None:
    answer = asked.post(f"{path}/{action}")
    if as_json:
        print_json(answer)
    else:
        say(f"{answer['kind']} {answer['id']} {words}")
