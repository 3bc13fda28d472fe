"""Fuzzing without a fuzzer: random mutations of seeds, for a given time, with a number that repeats the run.

    python -m fuzz.pdu_decoder --seconds 60 [--seed 7]

Why our own: a few seconds of it run in every `make test`, with nothing to install. Each target states its invariant as
a function that raises when it is broken; the bytes that broke it are printed, so that they can become a test.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence

Target = Callable[[bytes, random.Random], None]
"""Takes bytes and a source of chance (for chunking, say). Raises when the invariant is broken."""

MAX_LENGTH = 1 << 14  # bytes of one input
INTERESTING = (b"\0", b"\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x80", b"\0\0\0\2", b"\1\1")


class Broken(Exception):
    """The invariant does not hold for these bytes."""


def mutate(seeds: Sequence[bytes], chance: random.Random) -> bytes:
    """One seed, changed in a few places."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randrange(1, 8)):
        at = chance.randrange(len(data) + 1)
        length = chance.choice((1, 1, 2, 4, 6, chance.randrange(1, 64)))
        match chance.randrange(6):
            case 0 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                word = chance.choice(INTERESTING)
                data[at : at + len(word)] = word
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = chance.randbytes(length)
            case 4:
                data[at:at] = data[at : at + length]
            case _:
                other = chance.choice(seeds)
                begin = chance.randrange(len(other) + 1)
                data[at:at] = other[begin : begin + chance.randrange(200)]
    return bytes(data[:MAX_LENGTH])


def run(target: Target, seeds: Sequence[bytes], *, seconds: float, seed: int) -> int:
    """Try the seeds, then mutations of them until the time is over. Returns how many; raises Broken."""
    chance = random.Random(seed)
    deadline = time.monotonic() + seconds
    count = 0
    while count < len(seeds) or time.monotonic() < deadline:
        data = seeds[count] if count < len(seeds) else mutate(seeds, chance)
        count += 1
        try:
            target(data, chance)
        except Exception as error:
            raise Broken(f"after {count} inputs with seed {seed}: {error!r}\n{data.hex()}") from error
    return count


def main(target: Target, seeds: Sequence[bytes]) -> None:
    """The command line of a target."""
    parser = argparse.ArgumentParser(description=target.__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None, help="repeats a run")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    print(f"{run(target, seeds, seconds=arguments.seconds, seed=seed)} inputs, invariant holds")
