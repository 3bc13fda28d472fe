"""AE Titles: padding, odd bytes, limits (PS3.5 6.2)."""

from __future__ import annotations

import pytest

from dicom_adapter.dicom import ae_title


@pytest.mark.parametrize(
    ("field", "title"),
    [
        (b"CLARA           ", "CLARA"),
        (b"  CLARA         ", "CLARA"),
        (b"CLARA\0\0\0\0\0\0\0\0\0\0\0", "CLARA"),
        (b"CLARA \0         ", "CLARA"),
        (b"WITH SPACE INSID", "WITH SPACE INSID"),
        (bytes(16), ""),
        (b"A\x1b[31m\nB        ", "A\\x1b[31m\\x0aB"),
        (b"\xc4\xd6             \xdc", "\\xc4\\xd6             \\xdc"),
        (b"A\\B             ", "A\\x5cB"),
    ],
)
def test_decode(field: bytes, title: str) -> None:
    assert ae_title.decode(field) == title
    assert ae_title.decode(ae_title.encode(title)) == title  # what odd peers send can be sent back


def test_encode_pads_with_spaces() -> None:
    assert ae_title.encode("CLARA") == b"CLARA           "


@pytest.mark.parametrize("title", ["A" * 17, "\u0416"])
def test_encode_refuses_what_does_not_fit(title: str) -> None:
    with pytest.raises(ValueError, match=r"16|latin-1"):
        ae_title.encode(title)


@pytest.mark.parametrize(
    ("title", "valid"),
    [("A", True), ("A" * 16, True), ("A" * 17, False), ("", False), ("   ", False), ("A\\B", False), ("Ä", False)],
)
def test_is_valid(title: str, valid: bool) -> None:
    assert ae_title.is_valid(title) is valid
