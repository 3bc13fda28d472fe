"""What is wrong with a value that came from outside, in words for a person: pydantic's speak of its own inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WORDS = {"missing": "required", "extra_forbidden": "unknown"}
_PYDANTIC_SAYS = (("Value error, ", ""), ("Input should", "must"))


def in_words(error: Mapping[str, Any]) -> str:
    """One of the errors that a ValidationError lists, without the place."""
    words = _WORDS.get(error["type"], str(error["msg"]))
    for theirs, ours in _PYDANTIC_SAYS:
        if words.startswith(theirs):
            return ours + words.removeprefix(theirs)
    return words
