"""docs/configuration.md has the table that the schema makes, whole and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from dicom_adapter.config import load_text
from dicom_adapter.config.reference import keys, known_keys, nearest_key, table

DOCS = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_documentation_has_the_table() -> None:
    text = DOCS.read_text(encoding="utf-8").partition("## Every key")[2]
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows == table().splitlines(), "run `python -m dicom_adapter.config` and paste its table"


def test_the_examples_of_the_documentation_load() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        load_text(example, {}).require_runnable()


def test_every_key_says_what_it_is_and_whose() -> None:
    for key in keys():
        assert key.origin in ("spec", "ours"), key.path
        assert key.meaning.endswith("."), key.path
        assert key.allowed, key.path


def test_known_keys_follow_a_path() -> None:
    assert known_keys(("dicom", "scp", "sources", 3)) == ("host-ip", "ae-title")
    assert known_keys(("dicom", "scp", "port")) == ()
    assert known_keys(("nowhere", "at", "all")) == ()


def test_nothing_is_suggested_for_what_resembles_nothing() -> None:
    assert nearest_key((), "zzzzzz") is None
