"""processorSettings of the processor that makes jobs (0.7.2 and later; contract 5.6): which there are, and their rules.

Pure: text in, words out. Those of other processors are their own affair.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

PIPELINE = "pipeline-"  # pipeline-<name>: the id of a pipeline
PRIORITIES = ("lower", "normal", "higher", "immediate")

_SHOWN = 64  # characters of a value that an error repeats
_WHOLE = re.compile(r"[0-9]{1,8}", re.ASCII)
_TAG = re.compile(r"\(?[0-9A-Fa-f]{4},?[0-9A-Fa-f]{4}\)?")


def pipelines(settings: Mapping[str, str]) -> dict[str, str]:
    """The pipelines that settings name: by their `<name>`, the id."""
    return {key[len(PIPELINE) :]: value for key, value in settings.items() if _names_pipeline(key)}


def timeout(settings: Mapping[str, str]) -> int | None:
    """Seconds of quiet that close a batch; None where the settings say nothing."""
    return int(settings["timeout"]) if "timeout" in settings else None


def problems(ae_title: str, settings: Mapping[str, str]) -> list[str]:
    """What is wrong with the settings of an AE Title, in the original's words; empty where nothing is."""
    return [words for key, value in settings.items() if (words := _problem(ae_title, key, value))]


def _problem(ae_title: str, key: str, value: str) -> str | None:
    allowed, fits = ("the id of a pipeline", _is_filled) if _names_pipeline(key) else _RULES.get(key, ("", _is_filled))
    found = value if len(value) <= _SHOWN else f"{value[:_SHOWN]}..."
    if not allowed:
        there_are = ", ".join((*_RULES, f"{PIPELINE}<name>"))
        return f"processorSettings: Processor setting ignored {key}={found}. There are {there_are}"
    if not fits(value):
        return (
            f"processorSettings.{key}: Invalid processor setting '{key}' specified for AE Title {ae_title}. "
            f"Found {found!r}, allowed {allowed}"
        )
    return None


def _names_pipeline(key: str) -> bool:
    return key[: len(PIPELINE)].lower() == PIPELINE and len(key) > len(PIPELINE)


def _is_filled(value: str) -> bool:
    return bool(value.strip())


def _up_to(most: int) -> Callable[[str], bool]:
    return lambda value: bool(_WHOLE.fullmatch(value)) and int(value) <= most


_RULES: Mapping[str, tuple[str, Callable[[str], bool]]] = {
    "timeout": ("whole seconds, 0 to 86400", _up_to(86_400)),
    "jobRetryDelay": ("whole milliseconds, 0 to 86400000", _up_to(86_400_000)),
    "priority": (", ".join(PRIORITIES), lambda value: value.lower() in PRIORITIES),
    "groupBy": ("a DICOM tag, such as 0020,000D", lambda value: bool(_TAG.fullmatch(value))),
}
