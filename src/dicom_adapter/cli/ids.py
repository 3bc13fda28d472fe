"""Which job, export, results task, batch or study a person means by a part of its id."""

from __future__ import annotations

from typing import Annotated

import typer

from dicom_adapter.cli.client import Client, match
from dicom_adapter.cli.outcome import CliError, ExitCode

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning or end of it.")]

_LISTS = {"job": "jobs", "export": "exports", "results task": "results-tasks", "batch": "batches"}


def find(asked: Client, reference: str, *kinds: str) -> str:
    """The path of the one that is meant: /api/v1/jobs/1m82mgjfd6knb5r5. Raises CliError."""
    path_of = {
        str(item["id"]): f"/api/v1/{_LISTS[kind]}/{item['id']}"
        for kind in kinds
        for item in asked.every(f"/api/v1/{_LISTS[kind]}")
    }
    return path_of[match(reference, iter(path_of), " or ".join(kinds))]


def find_study(asked: Client, uid: str) -> str:
    """The path of the study that is meant. Raises CliError."""
    try:
        known = (str(item["studyInstanceUid"]) for item in asked.get("/api/v1/studies", limit=1000)["items"])
        found = match(uid, known, "study")
    except CliError as error:
        if error.code is ExitCode.USAGE or not is_uid(uid):
            raise
        found = uid  # an old one, beyond the list: the API says whether it knows it
    return f"/api/v1/studies/{found}"


def is_uid(text: str) -> bool:
    """Whether it can be a UID or a part of one, and is no id of ours."""
    return "." in text and all(one in "0123456789." for one in text)
