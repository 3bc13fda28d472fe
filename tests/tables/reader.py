"""Reads a table of cases: CSV with `#` comments; the first column names the case."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest


def cases(name: str) -> list[object]:
    """The rows of tests/tables/<name>.csv as pytest parameters."""
    lines = [line for line in (Path(__file__).parent / f"{name}.csv").read_text().splitlines() if line[:1] != "#"]
    rows = list(csv.DictReader(lines))
    assert rows, f"{name}.csv has no rows"
    return [pytest.param(row, id=next(iter(row.values()))) for row in rows]


def number(text: str) -> float | None:
    """An empty cell is None."""
    return float(text) if text else None
