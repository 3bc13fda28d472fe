"""The schema read back as facts about keys: for error reports, and for the table in docs/configuration.md.

`python -m dicom_adapter.config` prints that table; a test compares the two.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from dicom_adapter.config.fields import Allowed
from dicom_adapter.config.schema import Section, Settings

_TYPE_WORDS = {
    SecretStr: "string",
    bool: "bool",
    int: "int",
    float: "number",
    str: "string",
    Path: "path",
    Mapping: "map",
}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the configuration file."""

    path: str
    type: str
    default: str
    allowed: str
    origin: str  # spec or ours
    meaning: str

    def row(self) -> str:
        """Its row of the Markdown table."""
        cells = (f"`{self.path}`", self.type, self.default, self.allowed, self.origin, self.meaning)
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def keys(section: type[Section] = Settings, prefix: str = "") -> Iterator[Key]:
    """Every key, in the order of the schema. Entries of a list follow it, with [] in their path."""
    for field in section.model_fields.values():
        path = f"{prefix}{field.alias}"
        shape, metadata = _unwrap(field.annotation, field.metadata)
        if _is_section(shape):
            yield from keys(shape, f"{path}.")
            continue
        yield _key(path, field, shape, metadata)
        if (entry := _entry_section(shape)) is not None:
            yield from keys(entry, f"{path}[].")


def allowed(path: Sequence[str | int]) -> str | None:
    """What the value at a path may be, in words; None for a path that the schema does not have."""
    shape, metadata = _at(path)
    return None if shape is None else _allowed_words(shape, metadata)


def _at(path: Sequence[str | int]) -> tuple[Any, Sequence[Any]]:
    """The type at a path and its metadata; None for a path that the schema does not have."""
    shape: Any = Settings
    metadata: Sequence[Any] = ()
    for part in path:
        if _is_section(shape) and isinstance(part, str):
            field = next((field for field in shape.model_fields.values() if field.alias == part), None)
            if field is None:
                return None, ()
            shape, metadata = _unwrap(field.annotation, field.metadata)
        elif get_origin(shape) is tuple and isinstance(part, int):
            shape, metadata = _unwrap(get_args(shape)[0], ())
        elif get_origin(shape) is Mapping:
            shape, metadata = _unwrap(get_args(shape)[1], ())
        else:
            return None, ()
    return shape, metadata


def is_secret(path: Sequence[str | int]) -> bool:
    """Whether the value at a path must never be shown."""
    return _at(path)[0] is SecretStr


def known_keys(path: Sequence[str | int]) -> tuple[str, ...]:
    """The keys that a section may have; empty for what is no section."""
    shape: Any = Settings
    for part in path:
        if isinstance(part, int):
            shape = _entry_section(shape)
        elif _is_section(shape):
            field = next((field for field in shape.model_fields.values() if field.alias == part), None)
            shape = None if field is None else _unwrap(field.annotation, field.metadata)[0]
    return tuple(str(field.alias) for field in shape.model_fields.values()) if _is_section(shape) else ()


def nearest_key(path: Sequence[str | int], key: str) -> str | None:
    """The known key that was probably meant: in the same section, else with its whole path from anywhere."""
    written = key.lower().replace("_", "-")
    near = difflib.get_close_matches(written, known_keys(path), n=1, cutoff=0.6)
    if near:
        return near[0]
    elsewhere = {known.path.rpartition(".")[2]: known.path for known in keys()}
    elsewhere.update({top: top for top in known_keys(())})
    near = difflib.get_close_matches(written, elsewhere, n=1, cutoff=0.8)
    return elsewhere[near[0]] if near else None


def table() -> str:
    """The Markdown table of every key."""
    head = "| Key | Type | Default | Allowed | From | Meaning |\n| --- | --- | --- | --- | --- | --- |"
    return "\n".join([head, *(key.row() for key in keys())])


def _is_section(shape: Any) -> bool:
    return isinstance(shape, type) and issubclass(shape, Section)


def _entry_section(shape: Any) -> type[Section] | None:
    arguments = get_args(shape)
    return arguments[0] if get_origin(shape) is tuple and _is_section(arguments[0]) else None


def _unwrap(annotation: Any, metadata: Sequence[Any]) -> tuple[Any, Sequence[Any]]:
    """The bare type and its metadata, without Annotated and `| None`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return _unwrap(inner, [*more, *metadata])
    if origin in (Union, types.UnionType):
        return _unwrap(next(part for part in get_args(annotation) if part is not type(None)), metadata)
    return annotation, metadata


def _allowed_words(shape: Any, metadata: Sequence[Any]) -> str | None:
    for item in metadata:
        if isinstance(item, Allowed):
            return item.text
    origin = get_origin(shape)
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(shape))
    if _is_section(shape):
        return "a mapping of: " + ", ".join(str(field.alias) for field in shape.model_fields.values())
    if origin is tuple:
        entry, entry_metadata = _unwrap(get_args(shape)[0], ())
        return "a list" if _is_section(entry) else f"a list; each: {_allowed_words(entry, entry_metadata)}"
    if origin is Mapping:
        return "a mapping of names to text"
    return None


def _key(path: str, field: FieldInfo, shape: Any, metadata: Sequence[Any]) -> Key:
    origin = get_origin(shape)
    if origin is Literal:
        type_word = "choice"
    elif origin is tuple:
        type_word = "list"
    else:
        type_word = _TYPE_WORDS[origin or shape]
    extra = field.json_schema_extra
    assert isinstance(extra, dict), path
    words = _allowed_words(shape, metadata)
    assert words is not None, path
    assert field.description is not None, path
    return Key(path, type_word, _default_words(field), words, str(extra["origin"]), field.description)


def _default_words(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.default
    if default is None:
        return "none"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        if default and isinstance(default[0], Section):
            return "one entry with its defaults"
        return ", ".join(f"`{_plain(item)}`" for item in default) or "none"
    if isinstance(default, dict):
        return "none"
    return f"`{_plain(default)}`"


def _plain(value: object) -> str:
    if isinstance(value, Path):
        return f"./{value}"
    return f"{value:g}" if isinstance(value, float) else str(value)
