"""docs/clara-checklist.md: every row names tests that there are, or says why there is none."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "clara-checklist.md").read_text(encoding="utf-8")
ROWS = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith(("| what", "| ---"))]


@cache
def defined_in(path: str) -> frozenset[str]:
    """The names of the tests of a module, read from its source."""
    file = ROOT / path
    if not file.is_file():
        return frozenset()
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:60])
def test_a_row(row: str) -> None:
    _, demand, shown_by, _ = row.split("|")
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", shown_by)
    assert demand.strip()
    assert named or re.match(r" Not here: \w", shown_by), "neither a test nor a reason"
    assert [f"{path}::{name}" for path, name in named if name not in defined_in(path)] == []
    assert len(re.findall("tests/", shown_by)) == len(named), "a name that is not path::test"


def test_sections() -> None:
    """One for each of the checklist's (contract 9.1 to 9.6)."""
    assert re.findall(r"^## (.+)$", TEXT, re.MULTILINE) == [
        "SCP",
        "AE Titles, grouping, processors",
        "Platform, jobs, payloads",
        "Results Service and SCU",
        "REST and configuration",
        "Only in MIG",
    ]


def test_a_test_that_is_gone_would_be_noticed() -> None:
    assert "test_a_row" in defined_in("tests/docs/test_clara_checklist.py")
    assert "test_that_nobody_wrote" not in defined_in("tests/docs/test_clara_checklist.py")
    assert defined_in("tests/nowhere.py") == frozenset()
