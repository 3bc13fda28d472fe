"""The JSON object of a body, read with care: whatever a client sends, the answer is never an error of ours."""

from __future__ import annotations

import json
import math
from typing import Any

from fastapi import Request

_EXACT = 2**53  # up to here a float holds every whole number
METHODS_WITH_BODY = frozenset({"PATCH", "POST", "PUT"})  # a page elsewhere cannot send DELETE without asking first


class NotJsonError(ValueError):
    """The body says of itself that it is something else."""


class BadBodyError(ValueError):
    """The body is no JSON object that can be taken; the text says why."""


def says_json(request: Request) -> None:
    """Of every route. Raises NotJsonError.

    SECURITY: a cross-site form cannot send `application/json` without asking first, and we answer no such question (no
    CORS). Also an action that needs no body says so.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if request.method in METHODS_WITH_BODY and kind != "application/json":
        raise NotJsonError(f"Content-Type is {kind or 'missing'!r}; only application/json is taken.")


async def json_object(request: Request) -> dict[str, Any]:
    """The object in the body. Raises BadBodyError: no JSON, nested too deeply, a key twice, no object, broken text."""
    try:
        value = json.loads(
            await request.body(), object_pairs_hook=_unique, parse_constant=_no_number, parse_float=_finite
        )
        json.dumps(value, ensure_ascii=False).encode()  # lone surrogates: can be neither stored nor answered
    except RecursionError:
        raise BadBodyError("the body is nested too deeply") from None
    except UnicodeError:
        raise BadBodyError("the body is not Unicode text in UTF-8") from None
    except BadBodyError:
        raise
    except ValueError as error:
        raise BadBodyError(f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadBodyError('the body must be one JSON object: {"aeTitle": ...}')
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two readers of one text must not see two different resources."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise BadBodyError("a key stands twice in one object of the body")
    return result


def _finite(text: str) -> float:
    """1e999 would become infinity, which JSON cannot say. JSON has one kind of number, so 104.0 is 104."""
    number = float(text)
    if not math.isfinite(number):
        raise BadBodyError(f"{text[:20]} is too large a number")
    return int(number) if number.is_integer() and abs(number) < _EXACT else number


def _no_number(text: str) -> None:
    raise BadBodyError(f"{text} is not JSON")
