"""The Results Service's JSON -> tasks (contract 2). Pure: `clara_results` reads it from the wire.

Why here: whatever the service sends, each task that can be told apart is judged by itself. One that is broken must not
cost the others, as the service counts all of them as handed out: it is reported as failed if it has an id, else it is
skipped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from dicom_adapter.core.model import GivenTask

MAX_DESTINATIONS: Final = 64  # of one task
MAX_URIS: Final = 100_000  # over all its destinations: each of them gets a row for each file
MAX_TEXT: Final = 1024  # characters of an id or a name
MAX_RETRIES: Final = 1 << 31

_TASK_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")  # a GUID, with some leeway; it becomes part of a URL


class NotTasks(ValueError):
    """The body is not a JSON array; the message says what it is."""


class _Broken:
    """A value that JSON does not have, or that has two: equal to nothing that is looked for."""


_BROKEN: Final = _Broken()


def read_tasks(body: bytes) -> tuple[list[GivenTask], int]:
    """The tasks of an answer, and how many entries had to be skipped. Raises NotTasks."""
    try:
        found = json.loads(body.decode("utf-8"), object_pairs_hook=_object, parse_constant=lambda _text: _BROKEN)
    except (ValueError, RecursionError) as error:  # UnicodeError and JSONDecodeError are ValueErrors
        why = "nested too deeply" if isinstance(error, RecursionError) else "no JSON in UTF-8"
        raise NotTasks(f"its answer is {why}") from None
    if not isinstance(found, list):
        raise NotTasks("its answer is no list of tasks")
    tasks = [_task(entry) for entry in found]
    return [task for task in tasks if task is not None], tasks.count(None)


def destination_names(parameters: object) -> tuple[str, ...]:
    """The names of destinations that `parameters` means, each once. Raises ValueError.

    JSON text of a string or of an array of strings, the array itself, or the bare name; the generations differ.
    """
    if isinstance(parameters, str):
        try:
            value = json.loads(parameters)
        except (ValueError, RecursionError):
            value = parameters
        # What is neither a string nor an array is a bare name that JSON can read too: 4711, or true.
        parameters = parameters if isinstance(value, int | float) else value
    if parameters is None or parameters == "":
        return ()
    names = [_name(one) for one in (parameters if isinstance(parameters, list) else [parameters])]
    unique: dict[str, str] = {}
    for name in filter(None, names):
        unique.setdefault(name.lower(), name)
    if len(unique) > MAX_DESTINATIONS:
        raise ValueError(f"its parameters name {len(unique)} destinations; at most {MAX_DESTINATIONS} can be")
    return tuple(unique.values())


def _name(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise ValueError("its parameters are not the name of a destination, nor a list of such names")
    return value.strip()


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys compare without case, as those of the original's library do."""
    values: dict[str, Any] = {}
    for key, value in pairs:
        name = key.lower()
        values[name] = _BROKEN if name in values else value
    return values


def _task(entry: object) -> GivenTask | None:
    """None: it has no id that could be reported."""
    task_id = entry.get("taskid") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(task_id, str) or not _TASK_ID.fullmatch(task_id):
        return None
    try:
        destinations = destination_names(entry.get("parameters"))
        if not destinations:
            raise ValueError("its parameters name no destination")
        uris = _uris(entry.get("uris"))
        if len(uris) * len(destinations) > MAX_URIS:
            raise ValueError(f"its uris for {len(destinations)} destinations are more than {MAX_URIS} files")
        payload_id = _text(entry, "payloadId")
        if uris and not payload_id:
            raise ValueError("it has no payloadId")
        return GivenTask(task_id, _text(entry, "jobId"), payload_id, destinations, uris, _retries(entry.get("retries")))
    except ValueError as error:
        return GivenTask(task_id, problem=str(error))


def _text(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key.lower())
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise ValueError(f"its {key} is not a text of at most {MAX_TEXT} characters")
    return value


def _uris(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_URIS or not all(isinstance(one, str) for one in value):
        raise ValueError(f"its uris are not a list of at most {MAX_URIS} names")
    return tuple(value)


def _retries(value: object) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_RETRIES:
        raise ValueError("its retries are not a number of times")
    return value
