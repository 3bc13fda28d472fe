"""The head of a result file: what says which patient, study and instance it is.

Why here: the one module that the results cost pydicom. SECURITY: result files are a program's output and sources are a
peer's: links are not followed, nothing behind the Series Instance UID is read, inflated bytes are bounded.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

# The package before its modules: threads that come to it for the first time by different modules would be given it half
# made (importlib's way out of a deadlock), until the next start.
from pydicom import Dataset
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.dataelem import RawDataElement
from pydicom.filereader import read_dataset

from dicom_adapter.dicom.part10 import Part10Error, read_file_meta
from dicom_adapter.dicom.uid import EXPLICIT_VR_BIG_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, is_deflated

MAX_FILE_META = 64 << 10  # bytes
MAX_INFLATED = 16 << 20  # bytes of a deflated data set that are inflated for its head
MAX_VALUE = 4096  # bytes of an element that is read

_CHARACTER_SET, _SOP_CLASS, _SOP_INSTANCE = 0x00080005, 0x00080016, 0x00080018
_PATIENT_ID, _STUDY, _SERIES = 0x00100020, 0x0020000D, 0x0020000E
_WANTED = frozenset({_CHARACTER_SET, _SOP_CLASS, _SOP_INSTANCE, _PATIENT_ID, _STUDY, _SERIES})


class Head(NamedTuple):
    """Values as text, "" where the file has none. `size`: of the file, in bytes."""

    sop_class_uid: str
    sop_instance_uid: str
    patient_id: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    size: int


def read_head(path: Path) -> Head:
    """Read a file of DICOM PS3.10 up to its Series Instance UID. Blocking.

    Raises Part10Error for what is no such file, and OSError.
    """
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise Part10Error("it is empty")
        meta = read_file_meta(file.read(MAX_FILE_META))
        file.seek(meta.data_set_offset)
        stream = _inflated(file) if is_deflated(meta.transfer_syntax_uid) else file
        try:
            head = read_dataset(
                stream,
                is_implicit_VR=meta.transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN,
                is_little_endian=meta.transfer_syntax_uid != EXPLICIT_VR_BIG_ENDIAN,
                stop_when=_behind_head,
                specific_tags=list(_WANTED),
            )
            return Head(
                sop_class_uid=_uid(head, _SOP_CLASS),
                sop_instance_uid=_uid(head, _SOP_INSTANCE),
                patient_id=_text(head, _PATIENT_ID),
                study_instance_uid=_uid(head, _STUDY),
                series_instance_uid=_uid(head, _SERIES),
                transfer_syntax_uid=meta.transfer_syntax_uid,
                size=size,
            )
        except OSError:
            raise
        except Exception as error:  # whatever pydicom trips over, it is the file
            raise Part10Error("its data set cannot be read") from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    if not stat.S_ISREG(path.lstat().st_mode):
        raise Part10Error("it is a link or a special file")
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        yield file


def _behind_head(tag: int, _vr: str | None, length: int) -> bool:
    number = int(tag)  # pydicom's own comparisons of tags take most of the time otherwise
    if length > MAX_VALUE and number in _WANTED:
        raise ValueError("a value of the head is too long")
    return number > _SERIES  # tags ascend: PS3.5 7.1


def _inflated(file: BinaryIO) -> BinaryIO:
    try:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        return io.BytesIO(inflater.decompress(file.read(MAX_INFLATED), MAX_INFLATED))
    except zlib.error as error:
        raise Part10Error("its deflated data set cannot be inflated") from error


def _value(head: Dataset, tag: int) -> bytes:
    """The element as it stands in the file: pydicom's own conversion validates, and warns."""
    element = head.get_item(tag)
    return element.value or b"" if isinstance(element, RawDataElement) else b""


def _uid(head: Dataset, tag: int) -> str:
    return _value(head, tag).decode("ascii", "replace").strip("\0 ")


def _text(head: Dataset, tag: int) -> str:
    character_sets = _value(head, _CHARACTER_SET).decode("ascii", "replace").split("\\")
    encodings = convert_encodings([each.strip("\0 ") for each in character_sets])
    return decode_bytes(_value(head, tag), encodings, set()).strip("\0 ")
