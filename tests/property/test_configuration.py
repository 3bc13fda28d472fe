"""Whatever is in the file: a configuration, or a report that a person can read. Never another exception."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_adapter.config import ConfigError, load_text
from dicom_adapter.config.reference import keys, known_keys

WORDS = sorted({part.removesuffix("[]") for key in keys() for part in key.path.split(".")})
VALUES = ["", "A", "104", "0", "-1", "true", "1.2.3", "127.0.0.1", "instance", "\x1b[2J", "é", "x" * 20]

names = st.one_of(st.sampled_from(WORDS), st.text(max_size=5))
leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.sampled_from(VALUES), st.text(max_size=8))
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=4)),
    max_leaves=20,
)


def section(path: tuple[str | int, ...], depth: int) -> st.SearchStrategy[object]:
    """Mostly what the schema has at a path, so that broken values meet whole ones."""
    known = known_keys(path)
    if not known or depth == 0:
        return trees
    inner = {key: section((*path, key), depth - 1) for key in known}
    entries = st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(known_keys((*path, 0)), leaves)), max_size=2)
    return st.one_of(st.fixed_dictionaries({}, optional=inner), entries, trees)


def judge(text: str) -> None:
    try:
        loaded = load_text(text, {})
        problems = (*loaded.warnings, *loaded.notes, *loaded.unrunnable)
    except ConfigError as refused:
        problems = refused.problems
    assert all(problem.render().replace("\n", "").isprintable() for problem in problems)


@settings(deadline=None)  # a busy machine is no defect
@given(section((), 3))
def test_any_tree(tree: object) -> None:
    judge(json.dumps(tree))


@settings(deadline=None)  # a busy machine is no defect
@given(st.text(alphabet="ab:-[]{}&*!|>'\"# \n\t0", max_size=60))
def test_any_text(text: str) -> None:
    judge(text)


@settings(deadline=None)  # a busy machine is no defect
@given(st.text(max_size=40))
def test_any_characters(text: str) -> None:
    judge(f"dicom: {text}")
