"""YAML text -> plain values, each with its line and column.

Why here, and not ruamel's own constructor: a wrong file must be reported whole, with positions, and this reader keeps
every scalar as the text that was written. So an AE Title `NO`, `1234` or `1e5` stays text, and the schema, which knows
what each key is, decides what a number is. Only mappings, sequences, text and null exist: no tag builds an object.

SECURITY: bounded size, depth and node count, so an anchors bomb or deep nesting is a problem report, not an outage.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from dicom_adapter.config.problems import Problem, quote

Value: TypeAlias = "str | list[Value] | dict[str, Value] | None"
Path: TypeAlias = tuple[str | int, ...]

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_NODES = 50_000  # aliases counted each time they are used

_PLAIN_TAGS = {
    f"tag:yaml.org,2002:{name}" for name in ("str", "null", "bool", "int", "float", "timestamp", "map", "seq", "merge")
} | {"tag:yaml.org,2002:value"}
_NULL = "tag:yaml.org,2002:null"
_HALF_CHARACTER = "an escape sequence makes half a character"


class Position(NamedTuple):
    """Line and column, both counted from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Document:
    """A parsed file: its values, where each stands, and what is wrong with it as YAML."""

    tree: dict[str, Value] = field(default_factory=dict)
    positions: dict[Path, Position] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def position(self, path: Path) -> Position | None:
        """Where the key or item stands, or the nearest thing around it that is in the file."""
        for length in range(len(path), -1, -1):
            if (found := self.positions.get(path[:length])) is not None:
                return found
        return None


def parse(text: str) -> Document:
    """Read one YAML 1.2 document whose top is a mapping. Problems are in the document, never raised."""
    document = Document()
    root = _compose(text, document)
    if root is None or document.problems:
        return document
    if not isinstance(root, MappingNode):
        document.problems.append(
            _at(root, "the file must be a mapping of keys to values", allowed="`key: value` lines")
        )
        return document
    try:
        document.tree = _Reader(document).mapping(root, ())
    except _TooLargeError as error:
        document.problems.append(_at(root, str(error)))
    return document


def dotted(path: Path) -> str:
    """A path as people write it: dicom.scp.sources[0].host-ip. What a terminal could obey is escaped."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
    return text if text.isprintable() else ascii(text)


class _TooLargeError(Exception):
    pass


def _compose(text: str, document: Document) -> Node | None:
    if len(text) > MAX_BYTES:
        document.problems.append(Problem("the file is too large", found=f"{len(text)} characters", allowed="1 MiB"))
        return None
    try:
        _refuse_depth(text)
        node: Node | None = YAML(typ="rt", pure=True).compose(text)
    except MarkedYAMLError as error:
        document.problems.append(_syntax_problem(error, text))
    except YAMLError:  # the reader's: a character that YAML forbids; its text quotes the character, so ours does not
        document.problems.append(Problem("the file holds a control character that YAML does not allow"))
    except _TooLargeError as error:
        document.problems.append(Problem(str(error)))
    else:
        return node
    return None


def _refuse_depth(text: str) -> None:
    """Stop before composing, which recurses and whose cost grows with the square of the depth."""
    depth = 0
    for event in YAML(typ="rt", pure=True).parse(text):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _TooLargeError(f"the file is nested deeper than {MAX_DEPTH} levels")


def _syntax_problem(error: MarkedYAMLError, text: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    position = Position(mark.line + 1, mark.column + 1) if mark is not None else None
    lines = text.splitlines()
    hint = None
    if position is not None and position.line <= len(lines):
        line = lines[position.line - 1]
        if "\t" in line[: len(line) - len(line.lstrip())]:
            hint = "indent with spaces: YAML does not allow tabs there"
    words = " ".join(part for part in (error.context, error.problem) if part)
    return Problem(f"not valid YAML: {words}", position=position, hint=hint)


def _at(node: Node, message: str, *, path: str = "", found: str | None = None, allowed: str | None = None) -> Problem:
    position = Position(node.start_mark.line + 1, node.start_mark.column + 1)
    return Problem(message, path=path, position=position, found=found, allowed=allowed)


def _is_text(value: str) -> bool:
    """Whether it can be written: "\\ud800" in quotes is half of a character."""
    return not any("\ud800" <= one <= "\udfff" for one in value)


class _Reader:
    def __init__(self, document: Document) -> None:
        self._document = document
        self._nodes = 0

    def mapping(self, node: MappingNode, path: Path) -> dict[str, Value]:
        self._document.positions.setdefault(path, Position(node.start_mark.line + 1, node.start_mark.column + 1))
        result: dict[str, Value] = {}
        first_lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self._document.problems.append(_at(key_node, "a key must be plain text", path=dotted(path)))
                continue
            key = str(key_node.value)
            if not _is_text(key):
                self._document.problems.append(_at(key_node, _HALF_CHARACTER, path=dotted(path)))
                continue
            if key in result:
                problem = _at(
                    key_node, f"key stands twice, first in line {first_lines[key]}", path=dotted((*path, key))
                )
                self._document.problems.append(problem)
                continue
            first_lines[key] = key_node.start_mark.line + 1
            position = Position(key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            self._document.positions[(*path, key)] = position
            result[key] = self._value(value_node, (*path, key))
        return result

    def _value(self, node: Node, path: Path) -> Value:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _TooLargeError(f"the file grows beyond {MAX_NODES} values when its aliases are followed")
        if len(path) > MAX_DEPTH:
            raise _TooLargeError(f"the file is nested deeper than {MAX_DEPTH} levels")
        if str(node.tag) not in _PLAIN_TAGS:
            problem = _at(node, "YAML tags are not allowed", path=dotted(path), found=quote(node.tag))
            self._document.problems.append(problem)
            return None
        if isinstance(node, MappingNode):
            return self.mapping(node, path)
        if isinstance(node, SequenceNode):
            return list(self._items(node, path))
        text = str(node.value)
        if not _is_text(text):
            self._document.problems.append(_at(node, _HALF_CHARACTER, path=dotted(path), found=quote(text)))
            return None
        return None if str(node.tag) == _NULL else text

    def _items(self, node: SequenceNode, path: Path) -> Iterator[Value]:
        for index, item in enumerate(node.value):
            position = Position(item.start_mark.line + 1, item.start_mark.column + 1)
            self._document.positions[(*path, index)] = position
            yield self._value(item, (*path, index))
