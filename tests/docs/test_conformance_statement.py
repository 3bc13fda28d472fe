"""docs/conformance-statement.md says what the code does: its tables are those that the code makes."""

from __future__ import annotations

import re

import pytest

from dicom_adapter.config.reference import keys
from dicom_adapter.dicom.status import Status
from scripts import conformance_tables
from scripts.conformance_tables import DOCUMENT, TABLES, rewritten

TEXT = DOCUMENT.read_text(encoding="utf-8")


def test_the_tables_are_those_of_the_code() -> None:
    assert rewritten(TEXT) == TEXT, "run: python -m scripts.conformance_tables"


def test_every_table_stands_in_the_document_once() -> None:
    assert sorted(re.findall(r"<!-- table: ([a-z-]+) -->", TEXT)) == sorted(TABLES)


def test_a_table_that_was_changed_by_hand_is_noticed() -> None:
    for status in Status:
        assert f"| {status:04X}H " in TEXT
    changed = TEXT.replace("(local-limit-exceeded)", "(temporary-congestion)")
    assert changed != TEXT
    assert rewritten(changed) == TEXT


def test_a_rule_that_changed_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request of the table that is accepted now stops the table, as its row would be a lie."""
    monkeypatch.setattr(conformance_tables, "decide", lambda *_arguments, **_named: None)
    with pytest.raises((AssertionError, AttributeError)):
        TABLES["rejections"]()


def test_every_key_that_the_text_names_exists() -> None:
    paths = [key.path.split(".") for key in keys()]
    known = {".".join(path[start:]) for path in paths for start in range(len(path))}
    prose = re.sub(r"<!-- table.*?<!-- end -->", "", TEXT, flags=re.DOTALL)
    named = re.findall(r"`([a-z]+(?:[.-][a-z]+)+)(?:: [a-z]+)?`", prose)
    assert named
    assert [name for name in named if name not in known] == []


def test_the_readings_of_the_specification_are_stated() -> None:
    """Where the specification is silent or we differ, a site must be able to read how."""
    words = " ".join(TEXT.split())
    for reading in (
        "Association open at the deadline.",
        "Aborted association",
        "1.3.6.1.4.1.30071.8",
        "fo-dicom 4.0.0",
        "0213H (resource limitation)",
        "(3, abstract syntax not supported)",
        "`overwrite-same-instance` decides",
        "`storage.aborted-retention`",
        "Duplicates after a crash.",
        "a warning means stored",
        "**rejected at once**",
        "strictly more than 50 %",
    ):
        assert reading in words, reading
