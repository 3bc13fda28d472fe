"""Every fuzz target for two seconds; for as long as one likes by hand: `python -m fuzz.pdu_decoder --seconds 600`."""

from __future__ import annotations

import random
from pathlib import Path
from types import ModuleType

import pytest

from fuzz import command_set, dataset_head, harness, part10, pdu_decoder, upper_layer

TARGETS = [command_set, dataset_head, part10, pdu_decoder, upper_layer]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.__name__)
def test_invariant_holds(target: ModuleType) -> None:
    seed = random.SystemRandom().randrange(1 << 32)  # told by Broken, and repeated by --seed
    assert harness.run(target.check, target.SEEDS, seconds=2, seed=seed) > len(target.SEEDS)


def test_every_target_runs_here() -> None:
    files = {path.stem for path in Path(harness.__file__).parent.glob("*.py")} - {"harness"}
    assert files == {target.__name__.rpartition(".")[2] for target in TARGETS}


def test_a_broken_invariant_is_told_with_its_bytes() -> None:
    def check(data: bytes, chance: random.Random) -> None:
        if len(data) > 1:
            raise ValueError("too long")

    with pytest.raises(harness.Broken, match=r"with seed 1: ValueError\('too long'\)\n6162"):
        harness.run(check, [b"a", b"ab"], seconds=1, seed=1)
