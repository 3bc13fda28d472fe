"""One line for each P-DATA-TF PDU, sent or received: direction, length, and of each PDV context, kind, flag and length.

Why apart: it is for a person who looks for a fault, off by default, and costs nothing then. Contents never appear.
"""

from __future__ import annotations

from collections.abc import Callable

from dicom_adapter.dicom.pdu import PdvFragment
from dicom_adapter.dicom.pdu_encoder import PDV_OVERHEAD

PduLog = Callable[[str], None]
"""Takes a line."""


class PduTrace:
    """Makes the lines of a PduLog. Of a received PDU with many PDVs it names the first few: its memory is bounded."""

    MOST = 8

    def __init__(self, log: PduLog) -> None:
        self._log = log
        self._pdvs: list[str] = []
        self._length = 0
        self._count = 0
        self._inside = False

    def sent(self, context_id: int, *, is_command: bool, is_last: bool, length: int) -> None:
        pdv = _pdv_words(context_id, is_command=is_command, is_last=is_last, length=length)
        self._log(f"sent P-DATA-TF of {length + PDV_OVERHEAD} bytes: {pdv}")

    def received(self, fragment: PdvFragment, pdu_length: int) -> None:
        """Every fragment, with the length of its PDU while that is incomplete."""
        context_id, is_command, is_last, data, remaining = fragment
        if not self._inside:
            self._count += 1
            self._length += len(data) + remaining + PDV_OVERHEAD
            if self._count <= self.MOST:
                words = _pdv_words(context_id, is_command=is_command, is_last=is_last, length=len(data) + remaining)
                self._pdvs.append(words)
        self._inside = remaining > 0
        if not pdu_length:
            more = f"; {self._count - self.MOST} more PDVs" if self._count > self.MOST else ""
            self._log(f"received P-DATA-TF of {self._length} bytes: {'; '.join(self._pdvs)}{more}")
            self._pdvs.clear()
            self._count = self._length = 0


def _pdv_words(context_id: int, *, is_command: bool, is_last: bool, length: int) -> str:
    kind = "command" if is_command else "data set"
    return f"context {context_id}, {kind}, {'last' if is_last else 'not last'}, {length} bytes"
