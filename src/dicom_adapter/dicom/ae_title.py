"""AE Titles: 16 bytes on the wire, a trimmed string everywhere else (PS3.5 6.2, VR AE; PS3.8 9.3.2).

Why a module: peers pad with spaces, with NUL, or not at all, and some send bytes that no AE Title may hold. Those bytes
arrive escaped (`\\x1b`), so a title can always be compared, logged and sent back, and never breaks a line of a log.
"""

from __future__ import annotations

import re

LENGTH = 16  # bytes, PS3.8 Table 9-11

_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")


def is_valid(title: str) -> bool:
    """1 to 16 characters of the Default Character Repertoire, no backslash, no control character, not only spaces."""
    return len(title.strip(" ")) > 0 and len(title) <= LENGTH and all(" " <= c <= "~" and c != "\\" for c in title)


def decode(field: bytes) -> str:
    """The title in a 16-byte field: leading and trailing spaces are not significant, nor is padding with NUL."""
    return "".join(chr(b) if 0x20 <= b <= 0x7E and b != 0x5C else f"\\x{b:02x}" for b in field.strip(b" \0"))


def encode(title: str) -> bytes:
    """The 16-byte field for a title, padded with spaces. Inverse of `decode` for titles that it escaped.

    Raises ValueError for a title that is longer than 16 bytes or not ASCII.
    """
    field = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), title).encode("latin-1")
    if len(field) > LENGTH:
        raise ValueError(f"AE Title of {len(field)} bytes; at most {LENGTH} are allowed (PS3.5 6.2)")
    return field.ljust(LENGTH)
