"""appsettings.json of the Clara DICOM Adapter 0.7.2 to 0.8.2 -> our YAML, with comments on what has no equal.

The original matched names without regard to case and to nothing else, so that the file it was shipped with, which had
dashes, silently meant the defaults (contract 4.3). Here a name is what remains without case, dashes and underscores;
where that changes what was in force, a remark says so. Defaults of the original that differ from ours are written out:
the converted file means what the old one meant.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dicom_adapter.config import processor_settings
from dicom_adapter.config.problems import ConfigError, Problem, quote
from dicom_adapter.config.yaml_text import Commented, write
from dicom_adapter.core.snapshot import is_job_processor

MAX_CHARACTERS = 1 << 20

Name: TypeAlias = tuple[str, ...]

LEAST_TIMEOUT = 5  # seconds: default and minimum of the original
_GROUP_BY = "0020,000D"  # its default

_HEAD = (
    "Made from appsettings.json by `clara dicom config convert`.",
    "Look through it, then: clara dicom config check FILE",
)

# What becomes a key of ours as it is: name -> key. In the order in which it is written.
_SAME: Mapping[Name, Name] = {
    ("dicom", "scp", "port"): ("dicom", "scp", "port"),
    ("dicom", "scp", "maximumnumberofassociations"): ("dicom", "scp", "max-associations"),
    ("dicom", "scp", "verification", "enabled"): ("dicom", "scp", "verification", "enabled"),
    ("dicom", "scp", "verification", "transfersyntaxes"): ("dicom", "scp", "verification", "transfer-syntaxes"),
    ("dicom", "scp", "rejectunknownsources"): ("dicom", "scp", "reject-unknown-sources"),
    ("dicom", "scp", "logdimsedatasets"): ("dicom", "scp", "log-dimse-datasets"),
    ("dicom", "scu", "aetitle"): ("dicom", "scu", "ae-title"),
    ("dicom", "scu", "maximumnumberofassociations"): ("dicom", "scu", "max-associations"),
    ("dicom", "scu", "logdimsedatasets"): ("dicom", "scu", "log-dimse-datasets"),
    ("dicom", "scu", "logdatapdus"): ("dicom", "scu", "log-data-pdus"),
    ("storage", "temporary"): ("storage", "temporary"),
    ("storage", "watermarkpercent"): ("storage", "watermark-percent"),
    ("services", "platformendpoint"): ("services", "platform-endpoint"),
    ("services", "platform", "endpoint"): ("services", "platform-endpoint"),
    ("services", "platform", "paralleluploads"): ("services", "parallel-uploads"),
    ("services", "resultsserviceendpoint"): ("services", "results-service-endpoint"),
}
_SWITCHES: tuple[Name, ...] = (
    ("dicom", "scp", "read-aetitles-from-crd"),
    ("dicom", "scp", "read-sources-from-crd"),
    ("dicom", "scu", "read-destinations-from-crd"),
)
_SOURCE = {"hostip": "host-ip", "aetitle": "ae-title"}
_DESTINATION = {"name": "name", "hostip": "host-ip", "port": "port", "aetitle": "ae-title"}
# Why there is no equal.
_GONE: Mapping[Name, str] = {
    ("crdreadintervals",): "resources are watched, and a change is in force within a second",
    ("dicom", "scu", "export", "maximumretries"): "the waits in dicom.scu.retry-delays are the tries; three by default",
    ("dicom", "scu", "export", "failurethreshold"): "more than half of the files, as specified",
    ("dicom", "scu", "export", "agent"): "there is no export to DICOMweb",
    ("services", "platform", "uploadmetadata"): "the adapter decides what a job is told",
    ("services", "platform", "metadatadicomsource"): "a job's metadata has no patient data",
    ("services", "platform", "maxretries"): "a platform that is away is tried again for as long as it takes",
    ("services", "platform", "retrydelayseconds"): "the waits grow by themselves",
}
_SECTIONS_GONE = {
    "logging": "one level for all lines, which go to stderr",
    "serilog": "one level for all lines, which go to stderr",
    "allowedhosts": "`api.host-names` says by which names clients call",
}
_LEVELS = {
    "trace": "debug",
    "verbose": "debug",
    "debug": "debug",
    "information": "info",
    "warning": "warning",
    "error": "error",
    "critical": "error",
    "fatal": "error",
    "none": "error",
}


def convert(text: str, source: str = "") -> str:
    """The YAML of an appsettings.json. Raises ConfigError for what is no JSON, or has no section DicomAdapter."""
    document = _Names(_parse(text, source))
    section = document.take("dicomadapter")
    if not isinstance(section, Mapping):
        hint = (
            "MONAI Deploy Informatics Gateway keeps AE Titles in its database: `clara dicom config import` takes them"
            if document.take("informaticsgateway") is not None
            else None
        )
        raise ConfigError([Problem("there is no section DicomAdapter", path="DicomAdapter", hint=hint)], source)
    return _Conversion(_Names(section, ("DicomAdapter",)), document).text()


# --- JSON as .NET reads it ------------------------------------------------------------------------------------------

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*.*?\*/|,(?=\s*(?:(?://[^\n]*|/\*.*?\*/)\s*)*[}\]])', re.DOTALL)


def _parse(text: str, source: str) -> Mapping[str, Any]:
    """Comments, and commas before a closing bracket, are allowed."""
    if len(text) > MAX_CHARACTERS:
        raise ConfigError([Problem("the file is too large", found=f"{len(text)} characters", allowed="1 MiB")], source)
    bare = _TOKEN.sub(lambda found: found[0] if found[0][0] == '"' else re.sub(r"[^\n]", " ", found[0]), text)
    try:
        value = json.loads(bare, parse_constant=str)
    except ValueError as error:
        position = f"line {error.lineno}, " if isinstance(error, json.JSONDecodeError) else ""
        words = error.msg if isinstance(error, json.JSONDecodeError) else "a number that is too long"
        raise ConfigError([Problem(f"not valid JSON: {position}{words}")], source) from None
    except RecursionError:
        raise ConfigError([Problem("the file is nested too deep")], source) from None
    if not isinstance(value, Mapping):
        raise ConfigError([Problem("the file must be a JSON object")], source)
    return value


def _bare(name: str) -> str:
    return re.sub(r"[-_\s]", "", name).lower()


@dataclass
class _Names:
    """A mapping whose names are taken one after the other; what is left over has no equal.

    `section`: where it stands. `dashed`: names taken that the original did not read.
    """

    tree: Mapping[str, Any]
    section: tuple[str, ...] = ()
    dashed: list[str] = field(default_factory=list)
    _taken: set[tuple[str, ...]] = field(default_factory=set)

    def take(self, *names: str) -> Any:
        """The value at a path of bare names; None where there is none."""
        value: Any = self.tree
        path: tuple[str, ...] = ()
        for name in names:
            if not isinstance(value, Mapping):
                return None
            written = next((key for key in value if _bare(key) == name), None)
            if written is None:
                return None
            value, path = value[written], (*path, written)
        self._taken.add(path)
        if any("-" in part or "_" in part for part in path):
            self.dashed.append(self.shown(path))
        return value

    def left(self) -> Iterator[tuple[Name, str, Any]]:
        """(bare names, the path as written, the value) of what was not taken; empty sections are nothing."""
        yield from self._left(self.tree, ())

    def _left(self, tree: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[Name, str, Any]]:
        for key, value in tree.items():
            here = (*path, key)
            if here in self._taken:
                continue
            if isinstance(value, Mapping):
                yield from self._left(value, here)
            else:
                yield tuple(map(_bare, here)), self.shown(here), value

    def shown(self, path: tuple[str, ...]) -> str:
        """As the original's documentation writes it: DicomAdapter>dicom>scp>port."""
        text = ">".join((*self.section, *path))
        return text if text.isprintable() else ascii(text)


# --- the conversion -------------------------------------------------------------------------------------------------


class _Conversion:
    def __init__(self, section: _Names, document: _Names) -> None:
        self._section = section
        self._document = document
        self._tree: dict[str, Any] = {}
        self._remarks: list[str] = []
        self._has_database = document.take("connectionstrings", "dicomadapterdatabase") is not None

    def text(self) -> str:
        self._switches()
        for name, key in _SAME.items():
            value = self._section.take(*name)
            if value is not None:
                self._set(key, value)
        self._original_defaults()
        self._lists()
        reserve = self._section.take("storage", "reservespacegb")
        if reserve is not None:
            self._set(("storage", "reserve-space"), f"{reserve}GB")
        poll = self._section.take("dicom", "scu", "export", "pollfrequencyms")
        if poll is not None:
            self._set(("services", "results-poll-interval"), _seconds(poll))
        self._log_level()
        self._leftovers()
        remarks = [f"- {remark}" for remark in self._remarks]
        head = [*_HEAD, *(["", "What has no equal, or another meaning:"] if remarks else []), *remarks]
        return write(_in_order(self._tree), head)

    def _set(self, key: Name, value: Any, comment: str | None = None) -> None:
        tree = self._tree
        for part in key[:-1]:
            tree = tree.setdefault(part, {})
        tree[key[-1]] = value if comment is None else Commented(value, comment)

    def _switches(self) -> None:
        written = self._section.take("readaetitlesfromcrd")
        comment = "one switch for all three" if written is not None else "the original's default"
        if written is None and self._has_database:
            comment = "resources, as they were in the original's database: clara dicom config import"
        for key in _SWITCHES:
            self._set(key, True if written is None else written, comment)

    def _original_defaults(self) -> None:
        """Those that differ from ours. The generation with a database has other ones."""
        scp, scu = (25, 8) if self._has_database else (100, 2)
        defaults: list[tuple[Name, Any]] = [
            (("dicom", "scp", "max-associations"), scp),
            (("dicom", "scu", "max-associations"), scu),
            (("storage", "temporary"), "./payloads"),
        ]
        if self._has_database:
            defaults += [(("storage", "watermark-percent"), 85), (("storage", "reserve-space"), "5GB")]
        for key, value in defaults:
            tree: Any = self._tree
            for part in key[:-1]:
                tree = tree.get(part, {})
            if key[-1] not in tree and not (key[-1] == "reserve-space" and self._reserve_is_written()):
                self._set(key, value, "the original's default")

    def _reserve_is_written(self) -> bool:
        return self._section.take("storage", "reservespacegb") is not None

    def _lists(self) -> None:
        ae_titles = self._entries("dicom", "scp", "aetitles")
        if ae_titles:
            self._set(("dicom", "scp", "ae-titles"), [self._ae_title(each) for each in ae_titles])
        for name, key, fields in (
            (("dicom", "scp", "sources"), ("dicom", "scp", "sources"), _SOURCE),
            (("dicom", "scu", "destinations"), ("dicom", "scu", "destinations"), _DESTINATION),
        ):
            entries = self._entries(*name)
            if entries:
                self._set(key, [self._plain_entry(each, fields) for each in entries])

    def _entries(self, *name: str) -> list[_Names]:
        found = self._section.take(*name)
        entries = found if isinstance(found, list) else []
        section = (*self._section.section, *name[:-1])
        return [
            _Names(each, (*section, f"{name[-1]}[{index}]"))
            for index, each in enumerate(entries)
            if isinstance(each, Mapping)
        ]

    def _plain_entry(self, entry: _Names, fields: Mapping[str, str]) -> dict[str, Any]:
        made = {key: value for name, key in fields.items() if (value := entry.take(name)) is not None}
        self._unknown(entry)
        return made

    def _ae_title(self, entry: _Names) -> dict[str, Any]:
        title = entry.take("aetitle") or "ClaraSCP"
        made: dict[str, Any] = {"ae-title": title}
        entry.take("name")  # of the resource; here the AE Title names it
        settings = entry.take("processorsettings")
        settings = dict(settings) if isinstance(settings, Mapping) else {}
        processor = entry.take("processor")
        if processor is None or is_job_processor(str(processor)):
            made["timeout"], made["processor-settings"] = self._grouping(settings)
            self._map_pipelines(title, settings)
        else:
            made["processors"] = [Commented(processor, "a .NET class: write a plug-in of this name, or remove it")]
            made["processor-settings"] = settings
        for name, key in (
            ("overwritesameinstance", "overwrite-same-instance"),
            ("ignoredsopclasses", "ignored-sop-classes"),
        ):
            if (value := entry.take(name)) is not None:
                made[key] = value
        self._unknown(entry)
        return made

    def _grouping(self, settings: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The time-out of an AE Title, and what remains for its processor."""
        rest = {
            key: value
            for key, value in settings.items()
            if key.lower() != "timeout" and not processor_settings.pipelines({key: str(value)})
        }
        if not any(key.lower() == "groupby" for key in rest):
            rest["groupBy"] = Commented(_GROUP_BY, "the original's default")
        written = next((value for key, value in settings.items() if key.lower() == "timeout"), None)
        if written is None:
            return Commented(LEAST_TIMEOUT, "the original's default"), rest
        text = str(written)
        if text.isascii() and text.isdigit() and int(text) < LEAST_TIMEOUT:
            return Commented(LEAST_TIMEOUT, f"was {text}; the original took no less. 0: at each release"), rest
        return written, rest

    def _map_pipelines(self, title: Any, settings: Mapping[str, Any]) -> None:
        named = processor_settings.pipelines({key: str(value) for key, value in settings.items()})
        mappings = self._tree.setdefault("pipeline-mappings", [])
        mappings += [{"name": name, "clara-ae-title": title, "pipeline-id": id_} for name, id_ in named.items()]

    def _log_level(self) -> None:
        for name in (
            ("logging", "loglevel", "default"),
            ("serilog", "minimumlevel", "default"),
            ("serilog", "minimumlevel"),
        ):
            level = self._document.take(*name)
            if isinstance(level, str) and level.lower() in _LEVELS:
                self._set(("log", "level"), _LEVELS[level.lower()])
                return

    def _unknown(self, names: _Names) -> None:
        self._dashes(names)
        for _, path, value in names.left():
            self._remarks.append(f"{path} ({quote(value)}): the original did not know it either")

    def _dashes(self, names: _Names) -> None:
        for path in dict.fromkeys(names.dashed):
            self._remarks.append(f"{path}: the original did not read a name with dashes, so its default was in force")

    def _leftovers(self) -> None:
        if self._has_database:
            self._remarks.append(
                "ConnectionStrings>DicomAdapterDatabase: its AE Titles, sources and destinations come over with"
                " `clara dicom config import DATABASE`"
            )
        self._dashes(self._section)
        for name, path, value in self._section.left():
            why = _GONE.get(name, "the original did not know it either")
            self._remarks.append(f"{path} ({quote(value)}): {why}")
        for section in dict.fromkeys(path.partition(">")[0] for _, path, _ in self._document.left()):
            self._remarks.append(f"{section}: {_SECTIONS_GONE.get(_bare(section), 'not of the adapter')}")


def _seconds(milliseconds: Any) -> Any:
    """What is no number of milliseconds stays as it is: `config check` tells it."""
    text = str(milliseconds)
    return int(text) / 1000 if re.fullmatch("[0-9]{1,9}", text) else milliseconds


_ORDER = ("dicom", "pipeline-mappings", "storage", "services", "log")
_IN_SECTION: Mapping[str, tuple[str, ...]] = {
    "dicom": ("scp", "scu"),
    "scp": (
        "port",
        "read-aetitles-from-crd",
        "ae-titles",
        "max-associations",
        "verification",
        "reject-unknown-sources",
        "log-dimse-datasets",
        "read-sources-from-crd",
        "sources",
    ),
    "scu": (
        "ae-title",
        "max-associations",
        "log-dimse-datasets",
        "log-data-pdus",
        "read-destinations-from-crd",
        "destinations",
    ),
}


def _in_order(tree: Mapping[str, Any], order: tuple[str, ...] = _ORDER) -> dict[str, Any]:
    """Sections and keys as the specification's schema has them."""
    known = {key: place for place, key in enumerate(order)}
    return {
        key: _in_order(value, _IN_SECTION.get(key, ())) if isinstance(value, dict) else value
        for key, value in sorted(tree.items(), key=lambda item: known.get(item[0], len(known)))
        if value != []
    }
