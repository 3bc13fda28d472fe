"""DIMSE status codes: their category, and words that a PACS administrator understands.

Why here: the SCP answers with them, the SCU judges by them and people read them in reports; one table serves all three.
Sources: PS3.7 Annex C (general), PS3.4 Table B.2-1 (C-STORE).
"""

from __future__ import annotations

from enum import Enum, IntEnum, unique
from typing import Final


class Category(Enum):
    """PS3.7 C.1 to C.5."""

    SUCCESS = "Success"
    WARNING = "Warning"
    FAILURE = "Failure"
    CANCEL = "Cancel"
    PENDING = "Pending"


@unique
class Status(IntEnum):
    """The codes that we send ourselves."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    INVALID_OBJECT_INSTANCE = 0x0117
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    UNRECOGNIZED_OPERATION = 0x0211
    OUT_OF_RESOURCES = 0xA700
    DATA_SET_DOES_NOT_MATCH_SOP_CLASS = 0xA900
    CANNOT_UNDERSTAND = 0xC000


_EXACT: Final[dict[int, tuple[Category, str]]] = {
    0x0000: (Category.SUCCESS, "Success"),
    0x0001: (Category.WARNING, "Requested optional attributes are not supported"),
    0x0105: (Category.FAILURE, "No such attribute"),
    0x0106: (Category.FAILURE, "Invalid attribute value"),
    0x0107: (Category.WARNING, "Attribute list error"),
    0x0110: (Category.FAILURE, "Processing failure"),
    0x0111: (Category.FAILURE, "Duplicate SOP Instance"),
    0x0112: (Category.FAILURE, "No such SOP Instance"),
    0x0113: (Category.FAILURE, "No such event type"),
    0x0114: (Category.FAILURE, "No such argument"),
    0x0115: (Category.FAILURE, "Invalid argument value"),
    0x0116: (Category.WARNING, "Attribute value out of range"),
    0x0117: (Category.FAILURE, "Invalid SOP Instance UID"),
    0x0118: (Category.FAILURE, "No such SOP Class"),
    0x0119: (Category.FAILURE, "Class-Instance conflict"),
    0x0120: (Category.FAILURE, "Missing attribute"),
    0x0121: (Category.FAILURE, "Missing attribute value"),
    0x0122: (Category.FAILURE, "Refused: SOP Class not supported"),
    0x0123: (Category.FAILURE, "No such action"),
    0x0124: (Category.FAILURE, "Refused: not authorized"),
    0x0210: (Category.FAILURE, "Duplicate Message ID"),
    0x0211: (Category.FAILURE, "Unrecognized operation"),
    0x0212: (Category.FAILURE, "Mistyped argument"),
    0x0213: (Category.FAILURE, "Resource limitation"),
    0xB000: (Category.WARNING, "Coercion of data elements"),
    0xB006: (Category.WARNING, "Elements discarded"),
    0xB007: (Category.WARNING, "Data set does not match SOP Class"),
    0xFE00: (Category.CANCEL, "Cancel"),
    0xFF00: (Category.PENDING, "Pending"),
    0xFF01: (Category.PENDING, "Pending, optional keys not supported"),
}

# (first, last, category, words): PS3.4 Table B.2-1 above, PS3.7 C.1 to C.5 for whatever remains.
_RANGES: Final[tuple[tuple[int, int, Category, str], ...]] = (
    (0xA700, 0xA7FF, Category.FAILURE, "Refused: out of resources"),
    (0xA900, 0xA9FF, Category.FAILURE, "Error: data set does not match SOP Class"),
    (0xC000, 0xCFFF, Category.FAILURE, "Error: cannot understand"),
    (0xB000, 0xBFFF, Category.WARNING, "Warning"),
    (0xA000, 0xAFFF, Category.FAILURE, "Failure"),
    (0x0100, 0x01FF, Category.FAILURE, "Failure"),
    (0x0200, 0x02FF, Category.FAILURE, "Failure"),
)


def category(code: int) -> Category:
    """The category of a status code. A code that no table knows is a failure: it promises nothing."""
    return _look_up(code)[0]


def words(code: int) -> str:
    """The status as people write it, for example `A700H Refused: out of resources`."""
    return f"{code:04X}H {_look_up(code)[1]}"


def _look_up(code: int) -> tuple[Category, str]:
    exact = _EXACT.get(code)
    if exact is not None:
        return exact
    for first, last, kind, text in _RANGES:
        if first <= code <= last:
            return kind, text
    return Category.FAILURE, "Unknown status"
