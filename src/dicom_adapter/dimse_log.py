"""DIMSE messages in the log, for `log-dimse-datasets`: command sets as they are, data sets without patient data.

Why apart: it is the one place that reads a data set, and the one place that could show a patient. It works on the file,
before it is sent or after it is stored, so it costs nothing when it is off.
SECURITY: unless `log-phi` says otherwise, a value is shown only when its VR, both the sender's and that of PS3.6, holds
no words and no dates, and its element is a standard one that is not about the patient; everything else is masked. When
in doubt, masked.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from dicom_adapter.dicom.command_set import CommandSet

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset
    from pydicom.tag import BaseTag

log = structlog.get_logger("dimse")

MASK: Final = "***"
_DEFER: Final = 1024  # bytes; longer values are not read
_MAX_ELEMENTS: Final = 2000
_MAX_DEPTH: Final = 8

# VRs that hold neither words nor dates: a number, a tag, a UID. A code string is one of a defined list.
_SHOWN_VRS: Final = frozenset({"AT", "CS", "DS", "FD", "FL", "IS", "SL", "SS", "SV", "UI", "UL", "US", "UV"})


def log_command(direction: str, command: CommandSet, **context: object) -> None:
    """One line for a command set. `direction`: "received" or "sent"."""
    log.info(
        f"command set {direction}",
        command=f"{command.command_field:04X}H",
        message_id=command.message_id or command.message_id_being_responded_to,
        sop_class=command.affected_sop_class_uid,
        sop_instance=command.affected_sop_instance_uid,
        data_set=command.has_data_set,
        status=None if command.status is None else f"{command.status:04X}H",
        **context,
    )


def log_data_set(direction: str, path: Path, *, show_phi: bool, **context: object) -> None:
    """One line for each element of a Part 10 file's data set, up to its pixels. Raises nothing."""
    import pydicom  # noqa: PLC0415 - a third of a second and 30 MB that only this option costs

    try:
        data_set = pydicom.dcmread(path, stop_before_pixels=True, defer_size=_DEFER)
        lines = list(_lines(data_set, show_phi))
    except Exception as error:  # of a file that pydicom cannot read: it is stored all the same
        log.info(f"data set {direction}", elements=f"not readable: {type(error).__name__}", **context)
        return
    log.info(f"data set {direction}", elements=lines, **context)


def _lines(data_set: Dataset, show_phi: bool, depth: int = 0) -> Iterator[str]:
    for count, element in enumerate(data_set):
        if count >= _MAX_ELEMENTS:
            yield "..."
            return
        if element.VR == "SQ" and depth < _MAX_DEPTH:
            yield f"{'>' * depth}{element.tag} SQ {element.keyword}: {len(element.value)} items"
            for item in element.value:
                yield from _lines(item, show_phi, depth + 1)
        else:
            value = _shown(element) if show_phi or _is_harmless(element) else MASK
            yield f"{'>' * depth}{element.tag} {element.VR} {element.keyword}: {value}"


def _is_harmless(element: DataElement) -> bool:
    return (
        element.VR in _SHOWN_VRS
        and element.tag.group != 0x0010  # PS3.6: the patient
        and _standard_vrs(element.tag) <= _SHOWN_VRS  # a sender may well call a comment a code string
    )


def _standard_vrs(tag: BaseTag) -> set[str]:
    """What PS3.6 says of a standard element, for example US and SS; UN of any other."""
    from pydicom.datadict import dictionary_has_tag, dictionary_VR  # noqa: PLC0415 - see `log_data_set`

    return set(dictionary_VR(tag).split(" or ")) if dictionary_has_tag(tag) else {"UN"}


def _shown(element: DataElement) -> str:
    text = str(element.value)
    return text if len(text) <= 100 else f"{text[:100]}..."
