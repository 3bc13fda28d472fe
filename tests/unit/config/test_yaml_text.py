"""Values written as YAML are the values that are read."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_adapter.config.document import parse
from dicom_adapter.config.yaml_text import Commented, write

PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_categories=["C"]), max_size=20)
VALUES = st.recursive(
    PRINTABLE,
    lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(PRINTABLE, inner, min_size=1, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(PRINTABLE, VALUES, min_size=1, max_size=4), PRINTABLE)
def test_text_stays_text(tree: dict[str, Any], comment: str) -> None:
    document = parse(write({key: Commented(value, comment) for key, value in tree.items()}, [comment, comment]))
    assert document.problems == []
    assert document.tree == tree


def test_it_reads_well() -> None:
    text = write({"scp": {"port": 104, "on": True}, "list": [{"a": Commented("NO", "why")}]}, ["A head.", ""])
    assert text == "# A head.\n#\n\nscp:\n  port: 104\n  on: true\nlist:\n  - a: NO # why\n"


def test_a_comment_ends_with_its_line() -> None:
    assert parse(write({"a": Commented("b", "x\nc: d")}, ["y\ne: f"])).tree == {"a": "b"}
