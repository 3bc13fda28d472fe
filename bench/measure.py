"""How figures become a result: every case of a row in turn, again and again, then medians and ratios.

In turn, not one after the other, so that a machine that is busy for a while slows all of them.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from . import machine
from .receivers import BenchError

SLOW = 20.0  # seconds of measuring after which a case is not repeated

Medians = Mapping[str, float]


class Session:
    """One run of the bench: where files go, and a number that makes the UIDs of every figure new.

    `memory`: bytes that the machine shall have at hand when a figure is taken (`machine.populate_memory`).
    """

    def __init__(self, folder: Path, memory: int = 0) -> None:
        self.folder = folder
        self.memory = memory
        self._runs = 0

    def next_run(self) -> int:
        self._runs += 1
        return self._runs

    def new_folder(self, word: str) -> Path:
        """A path below the session's folder that does not exist yet. No other session uses its name: ext4 chooses the
        block group by it, and where the session before deleted its files, new ones take longer (`folders`)."""
        self._runs += 1
        return self.folder / f"{word}-{self._runs}-{secrets.token_hex(4)}"


@dataclass(frozen=True)
class Case:
    """One thing that is measured in a row. `measure` takes a figure in the row's unit; it raises BenchError."""

    name: str
    measure: Callable[[Session], float]
    absent: bool = False


@dataclass(frozen=True)
class Target:
    """A figure of the specification: `value` of the medians is at least, or at most, `bound`. `ours`: whose it is."""

    words: str
    ours: str
    value: Callable[[Medians], float]
    bound: float
    at_most: bool = False

    def met(self, value: float) -> bool:
        return value <= self.bound if self.at_most else value >= self.bound


@dataclass(frozen=True)
class Row:
    """One line of the table of targets.

    `meaning`: what is measured, in words for the report. `ceiling`: the case that shows what can be had at most.
    """

    key: str
    title: str
    unit: str
    meaning: str
    cases: Sequence[Case]
    targets: Sequence[Target]
    ceiling: str | None = None


@dataclass
class Result:
    """The figures of a row, by case, and why some are missing."""

    row: Row
    figures: dict[str, list[float]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def medians(self) -> Medians:
        return {name: median(figures) for name, figures in self.figures.items()}

    def reached(self, target: Target) -> float | None:
        """The target's value; None when a figure that it needs is missing."""
        try:
            return target.value(self.medians)
        except KeyError:
            return None

    def ceiling(self, target: Target) -> float | None:
        """What the target's value would be if ours were the row's ceiling; None where there is no such thing."""
        most = self.medians.get(self.row.ceiling or "")
        try:
            return None if most is None else target.value({**self.medians, target.ours: most})
        except KeyError:
            return None


def take(row: Row, session: Session, repeats: int, tell: Callable[[str], None]) -> Result:
    """Measure a row. `tell` hears the case before each figure is taken."""
    result = Result(row)
    spent: dict[str, float] = {}
    for case in row.cases:
        if case.absent:
            result.missing[case.name] = "not installed"
    for _ in range(repeats):
        for case in row.cases:
            if case.name in result.missing or spent.get(case.name, 0.0) > SLOW:
                continue
            tell(case.name)
            machine.populate_memory(session.memory)
            started = time.monotonic()
            try:
                result.figures.setdefault(case.name, []).append(case.measure(session))
            except BenchError as error:
                result.figures.pop(case.name)
                result.missing[case.name] = str(error)
            spent[case.name] = spent.get(case.name, 0.0) + time.monotonic() - started
    return result


def throughput_over(ours: str, peer: str, factor: float) -> Target:
    """For rows in MB/s: `ours` is at least `factor` times `peer`."""
    return Target(f"{factor:g} x {peer}", ours, lambda medians: medians[ours] / medians[peer], factor)


def speed_over(ours: str, peer: str, factor: float) -> Target:
    """For rows in seconds: `ours` is at least `factor` times as fast as `peer`."""
    return Target(f"{factor:g} x {peer}", ours, lambda medians: medians[peer] / medians[ours], factor)


def at_most(case: str, bound: float, unit: str) -> Target:
    """The figure itself is limited."""
    return Target(f"{case}: at most {bound:g} {unit}", case, lambda medians: medians[case], bound, at_most=True)
