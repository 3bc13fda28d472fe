"""Values -> YAML for people: comments above and beside, blocks all the way down."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq


@dataclass(frozen=True, slots=True)
class Commented:
    """A value with a comment behind it."""

    value: Any
    comment: str


def write(tree: Mapping[str, Any], head: Sequence[str] = ()) -> str:
    """A document. `head`: lines of a comment above it."""
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 4096  # no line is folded
    out = io.StringIO()
    out.writelines(f"# {_one_line(line)}".rstrip() + "\n" for line in head)
    out.write("\n" if head else "")
    yaml.dump(_node(tree), out)
    return out.getvalue()


def _node(value: Any) -> Any:
    if isinstance(value, Mapping):
        mapping = CommentedMap()
        for key, item in value.items():
            mapping[key] = _node(item.value if isinstance(item, Commented) else item)
            if isinstance(item, Commented):
                mapping.yaml_add_eol_comment(f"# {_one_line(item.comment)}", key, column=0)
        return mapping
    if isinstance(value, (list, tuple)):
        sequence = CommentedSeq()
        for place, item in enumerate(value):
            sequence.append(_node(item.value if isinstance(item, Commented) else item))
            if isinstance(item, Commented):
                sequence.yaml_add_eol_comment(f"# {_one_line(item.comment)}", place, column=0)
        return sequence
    return value


def _one_line(text: str) -> str:
    """A comment ends with its line: what could end it is escaped."""
    return text if text.isprintable() else ascii(text)
