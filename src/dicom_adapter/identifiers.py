"""Names we give to associations, batches, jobs and export tasks: never a word of a peer's."""

from __future__ import annotations

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: nothing to misread on the telephone
_TIME_CHARACTERS = 9  # 45 bits of milliseconds: until the year 3084
_RANDOM_CHARACTERS = 7  # 35 bits


def new_id() -> str:
    """A new id of 16 characters that sorts by time: 9 of milliseconds since the epoch, 7 random."""
    milliseconds = time.time_ns() // 1_000_000
    return _base32(milliseconds, _TIME_CHARACTERS) + _base32(secrets.randbits(35), _RANDOM_CHARACTERS)


def _base32(value: int, characters: int) -> str:
    return "".join(_ALPHABET[value >> (5 * place) & 31] for place in reversed(range(characters)))
