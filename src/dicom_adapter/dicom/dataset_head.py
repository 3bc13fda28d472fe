"""The SOP Class, SOP Instance, Study and Series UIDs of a data set, read from its first bytes as they arrive.

Why here: C-STORE Success says that the object in the command is the one that was stored, so the two must be compared
(PS3.4 B.2.3: A900H), and intake wants study and series without opening the file again. Nothing else is decoded.

The scanner is iterative, keeps at most one short element between two fragments, follows no length field except by
counting, and stops at the first element behind (0020,000E): the tags of a data set ascend (PS3.5 7.1).
Slices of one series have the same elements with the same lengths at the same places. A `HeadLayout` remembers them: a
head that has the same headers and the same UIDs but its own there is read by one comparison, as the scan follows
nothing else.

SECURITY: depth, number of elements and inflated bytes are bounded; a hostile data set ends in `error`, never in an
exception.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from dicom_adapter.dicom.uid import is_deflated

MAX_DEPTH: Final = 64  # sequences within sequences; real ones stay below ten
MAX_ELEMENTS: Final = 1_000_000  # before (0020,000E); a Referenced Series Sequence of 10,000 images needs 50,000
MAX_INFLATED: Final = 64 << 20  # bytes of a deflated data set that are inflated to find four UIDs
LONGEST_LAYOUT: Final = 1_000  # elements of a head that is worth remembering
_INFLATE_STEP: Final = 64 << 10
_LONGEST_UID: Final = 128  # bytes; PS3.5 9.1 allows 64

_SOP_CLASS: Final = 0x00080016
_SOP_INSTANCE: Final = 0x00080018
_STUDY: Final = 0x0020000D
_SERIES: Final = 0x0020000E
_FIELDS: Final = {
    _SOP_CLASS: "sop_class_uid",
    _SOP_INSTANCE: "sop_instance_uid",
    _STUDY: "study_instance_uid",
    _SERIES: "series_instance_uid",
}

_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
_UNDEFINED: Final = 0xFFFFFFFF

# PS3.5 7.1.2: these have a 16-bit length; every other VR, also one yet to come, has 2 reserved bytes and 32 bits.
_SHORT_VRS: Final = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())

# Whether elements carry a VR; tag, VR and 16-bit length; 32-bit length.
_Encoding = tuple[bool, Callable[..., tuple[int, int, bytes, int]], Callable[..., tuple[int]]]


# The same for the quick pass by what nobody wants: group, VR as a number and 16-bit length.
_skim_header: Final = struct.Struct("<H2xHH").unpack_from
_SHORT_VR_NUMBERS: Final = frozenset(int.from_bytes(vr, "little") for vr in _SHORT_VRS)

_forget: Final = deque[object](maxlen=0).append  # what takes notes that nobody wants


def _encoding(explicit: bool, order: str) -> _Encoding:
    return explicit, struct.Struct(f"{order}HH2sH").unpack_from, struct.Struct(f"{order}I").unpack_from


_EXPLICIT_LITTLE: Final = _encoding(True, "<")
_IMPLICIT_LITTLE: Final = _encoding(False, "<")
_EXPLICIT_BIG: Final = _encoding(True, ">")


class HeadLayout:
    """A head that was scanned: its headers, its UIDs, and where they lie.

    `headers`: (offset, bytes) of each, in ascending order, from offset 0 and without one missing.
    `values`: (tag, offset, bytes) of each UID.
    """

    __slots__ = ("_expected", "_instance", "_length", "_mask", "uids")

    def __init__(
        self,
        data: bytes | memoryview,
        headers: Sequence[tuple[int, int]],
        values: Sequence[tuple[int, int, int]],
    ) -> None:
        self.uids = {_FIELDS[tag]: _text(data[offset : offset + length]) for tag, offset, length in values}
        self._instance = slice(0, 0)
        same = [*headers]
        for tag, offset, length in values:
            if tag == _SOP_INSTANCE:
                self._instance = slice(offset, offset + length)
            else:
                same.append((offset, length))
        self._length = max(offset + length for offset, length in (*headers, *(place[1:] for place in values)))
        mask = bytearray(self._length)
        for offset, length in same:
            mask[offset : offset + length] = b"\xff" * length
        self._mask = int.from_bytes(mask, "little")
        self._expected = self._mask & int.from_bytes(data[: self._length], "little")

    def read(self, data: bytes | memoryview) -> str | None:
        """SOP Instance UID of a head that has all else in the same places; None: it has to be scanned."""
        length = self._length
        if len(data) < length or int.from_bytes(data[:length], "little") & self._mask != self._expected:
            return None
        return _text(data[self._instance])


def _text(value: bytes | memoryview) -> str:
    return str(value, "ascii", "replace").rstrip("\0 ")


class HeadScanner:
    """Finds four UIDs in a data set that arrives in fragments.

    `transfer_syntax_uid`: of the data set; it only says whether to inflate, the rest is told from the first bytes.
    `like`: the layout of a head seen before. `layout`: that of this one, where its first fragment held all of it.
    Results are "" while not found; `error` says in words why the head cannot be read, or is None.
    """

    __slots__ = (
        "_carry",
        "_elements",
        "_encoding",
        "_inflated",
        "_inflater",
        "_like",
        "_skip",
        "_stack",
        "done",
        "error",
        "layout",
        "series_instance_uid",
        "sop_class_uid",
        "sop_instance_uid",
        "study_instance_uid",
    )

    def __init__(self, transfer_syntax_uid: str, like: HeadLayout | None = None) -> None:
        self.layout: HeadLayout | None = None
        self._like = like
        self.sop_class_uid = ""
        self.sop_instance_uid = ""
        self.study_instance_uid = ""
        self.series_instance_uid = ""
        self.error: str | None = None
        self.done = False
        self._encoding: _Encoding | None = None
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS) if is_deflated(transfer_syntax_uid) else None
        self._inflated = 0
        self._carry = b""  # the start of an element whose rest has not arrived
        self._skip = 0  # bytes of a value still to pass by
        self._elements = 0
        # Open sequences (True) and items (False) of undefined length, with the encoding around them: a UN of undefined
        # length holds Implicit VR Little Endian (PS3.5 6.2.2 note 2).
        self._stack: list[tuple[bool, _Encoding]] = []

    def feed(self, fragment: bytes | memoryview) -> bool:
        """Take the next bytes of the data set. True: no more are needed, because all is known or nothing can be."""
        if self.done:
            return True
        if self._inflater is not None:
            self._inflate(self._inflater, fragment)
        elif self._encoding is not None or self._carry:
            self._scan(fragment)
        elif not self._recognise(fragment):
            self._scan_first(fragment)
        return self.done

    def finish(self) -> None:
        """The data set ended. Sets `error` when it ended inside an element that the head needs."""
        if not self.done and (self._carry or self._skip or self._stack):
            self._fail("the data set is cut off")
        self.done = True

    def _fail(self, why: str) -> None:
        self.error = why
        self.done = True

    def _recognise(self, fragment: bytes | memoryview) -> bool:
        """Read the head by a layout seen before. False: it is laid out in another way."""
        like = self._like
        instance = like.read(fragment) if like is not None else None
        if like is None or instance is None:
            return False
        self.layout = like
        uids = like.uids
        self.sop_class_uid = uids.get("sop_class_uid", "")
        self.sop_instance_uid = instance
        self.study_instance_uid = uids.get("study_instance_uid", "")
        self.series_instance_uid = uids.get("series_instance_uid", "")
        self.done = True
        return True

    def _scan_first(self, fragment: bytes | memoryview) -> None:
        """Scan the first fragment, and keep the layout of a head that is all in it."""
        headers: list[tuple[int, int]] = []
        values: list[tuple[int, int, int]] = []
        self._scan(fragment, headers.append, values.append)
        if self.done and self.error is None and len(headers) <= LONGEST_LAYOUT:
            self.layout = HeadLayout(fragment, headers, values)

    def _inflate(self, inflater: zlib._Decompress, fragment: bytes | memoryview) -> None:
        data: bytes | memoryview = fragment
        while not self.done:
            try:
                plain = inflater.decompress(data, _INFLATE_STEP)
            except zlib.error:
                return self._fail("the deflated data set cannot be inflated")
            self._inflated += len(plain)
            if self._inflated > MAX_INFLATED:
                return self._fail(
                    f"no Series Instance UID in the first {MAX_INFLATED >> 20} MiB of the deflated data set"
                )
            self._scan(plain)
            if inflater.eof:  # what is behind it is no data; given more, zlib would keep it all
                return self.finish()
            data = inflater.unconsumed_tail
            if not data and len(plain) < _INFLATE_STEP:
                return None
        return None

    def _scan(  # noqa: PLR0911, PLR0912, PLR0915 - one loop, on the hot path
        self,
        fragment: bytes | memoryview,
        header_at: Callable[[tuple[int, int]], None] = _forget,
        value_at: Callable[[tuple[int, int, int]], None] = _forget,
    ) -> None:
        if self._skip >= len(fragment):
            self._skip -= len(fragment)
            return
        position, self._skip = self._skip, 0
        data = self._carry + fragment if self._carry else fragment
        end = len(data)
        if self._encoding is None and end >= 8:
            self._encoding = _detect(data)
        if self._encoding is None:
            self._carry = bytes(data)
            return
        stack = self._stack
        explicit, unpack_header, unpack_length = self._encoding
        elements = self._elements
        skims = unpack_header is _EXPLICIT_LITTLE[1]
        group = 0
        while True:
            if skims and group > 0x0008 and not stack:
                # Most of a head is of groups that nobody asks for. Passed by like this they cost half.
                while end - position >= 8:
                    group, vr_number, length = _skim_header(data, position)
                    if not 0x0008 < group < 0x0020 or vr_number not in _SHORT_VR_NUMBERS:
                        break
                    header_at((position, 8))
                    position += 8 + length
                    elements += 1
                if position > end:
                    self._skip = position - end
                    position = end
            start = position
            if end - position < 8:
                break
            group, number, vr, length = unpack_header(data, position)
            tag = group << 16 | number
            position += 8
            if not explicit or group == 0xFFFE:  # PS3.5 7.5: items and delimiters have no VR
                (length,) = unpack_length(data, position - 4)
            elif vr not in _SHORT_VRS:
                if not (vr.isalpha() and vr.isupper()):
                    return self._fail(f"no VR where one must be, at element {elements + 1}")
                if end - position < 4:
                    position = start
                    break
                (length,) = unpack_length(data, position)
                position += 4
            header_at((start, position - start))
            elements += 1
            if elements > MAX_ELEMENTS:
                return self._fail(f"more than {MAX_ELEMENTS} elements before the Series Instance UID")
            if not stack:
                if tag > _SERIES:
                    self.done = True
                    return None
                if tag in _FIELDS:
                    if length > _LONGEST_UID:
                        return self._fail(f"a UID of {length} bytes")
                    if end - position < length:
                        elements -= 1
                        position = start
                        break
                    value_at((tag, position, length))
                    self._note(tag, data[position : position + length])
                    if self.done:
                        return None
            elif stack[-1][0]:  # in a sequence
                if tag == _SEQUENCE_END:
                    _, (explicit, unpack_header, unpack_length) = stack.pop()
                    continue
                if tag != _ITEM:
                    return self._fail("something other than an item in a sequence")
                if length == _UNDEFINED:
                    stack.append((False, (explicit, unpack_header, unpack_length)))
                    continue
            elif tag == _ITEM_END:
                stack.pop()
                continue
            if length == _UNDEFINED:
                if len(stack) >= 2 * MAX_DEPTH:
                    return self._fail(f"more than {MAX_DEPTH} sequences within each other")
                stack.append((True, (explicit, unpack_header, unpack_length)))
                if explicit and vr == b"UN":
                    explicit, unpack_header, unpack_length = _IMPLICIT_LITTLE
                continue
            position += length
            if position > end:
                self._skip = position - end
                position = end
                break
        self._carry = bytes(data[position:])
        self._encoding = explicit, unpack_header, unpack_length
        self._elements = elements
        return None

    def _note(self, tag: int, value: bytes | memoryview) -> None:
        setattr(self, _FIELDS[tag], _text(value))
        self.done = tag == _SERIES


def _detect(data: bytes | memoryview) -> _Encoding:
    """The encoding, told from the first element of the data set, which is of group 0008 or lower.

    The transfer syntax is not asked: private ones say nothing, and files with Implicit VR under an explicit one exist.
    """
    vr = bytes(data[4:6])
    if not (vr.isalpha() and vr.isupper()):
        return _IMPLICIT_LITTLE
    return _EXPLICIT_BIG if data[0] == 0 else _EXPLICIT_LITTLE  # group 0008H as 00 08 or 08 00
