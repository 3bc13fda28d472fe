"""UIDs: what a valid one is, the well-known ones by name, and which SOP Classes are storage.

Why here: the SCP must accept SOP Classes that did not exist when this was written (and private ones), so "storage" is
defined by exclusion, and that rule belongs beside the registry, not in the service.
"""

from __future__ import annotations

import re
from typing import Final

from dicom_adapter.dicom.uid_registry import NON_STORAGE_SOP_CLASSES, STORAGE_SOP_CLASSES, TRANSFER_SYNTAXES

APPLICATION_CONTEXT_NAME: Final = "1.2.840.10008.3.1.1.1"  # PS3.7 A.2.1
VERIFICATION: Final = "1.2.840.10008.1.1"  # PS3.4 A.4

IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"

# PS3.5 9.1, but without its rule on leading zeros: devices with such UIDs exist, and their images must be kept.
_UID = re.compile(r"[0-9.]{1,64}")


def is_valid_uid(text: str) -> bool:
    """Whether `text` is 1 to 64 digits and dots: what we accept from a peer as a UID."""
    return _UID.fullmatch(text) is not None


def is_storage_sop_class(uid: str) -> bool:
    """Whether an abstract syntax is served by the Storage Service (PS3.4 Annex B).

    Every SOP Class that is not known to be of another service counts as storage, so private and future ones work.
    """
    return uid not in NON_STORAGE_SOP_CLASSES


def is_deflated(transfer_syntax_uid: str) -> bool:
    """Whether the whole data set is one deflate stream in this transfer syntax (PS3.5 A.5; JPIP Referenced Deflate)."""
    return transfer_syntax_uid in _DEFLATED


def name_of(uid: str) -> str:
    """The registered name of a SOP Class or transfer syntax, or the UID itself. For people, never for decisions."""
    for table in (STORAGE_SOP_CLASSES, TRANSFER_SYNTAXES, NON_STORAGE_SOP_CLASSES):
        if uid in table:
            return table[uid]
    return uid


_DEFLATED = frozenset(
    {
        DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
        "1.2.840.10008.1.2.4.95",  # JPIP Referenced Deflate
        "1.2.840.10008.1.2.4.205",  # JPIP HTJ2K Referenced Deflate
    }
)
