"""AE Titles, sources and destinations that others keep -> specs of our resources, or lists of our configuration file.

Read are JSON (a list of entries, a mapping of such lists, what `kubectl get -o json` prints) and SQLite: the databases
of the Clara DICOM Adapter 0.8.1 and later and of MONAI Deploy Informatics Gateway. A field without an equal is told in
a remark, never dropped in silence.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote as url_quote

from dicom_adapter.config import processor_settings
from dicom_adapter.config.problems import ConfigError, Problem, quote
from dicom_adapter.config.resources import Kind
from dicom_adapter.config.yaml_text import write
from dicom_adapter.core.snapshot import is_job_processor

MAX_BYTES = 16 << 20  # of a JSON file

_SQLITE = b"SQLite format 3\0"
_TABLES = {  # of both products
    "ClaraApplicationEntities": Kind.CLARA_AE_TITLE,
    "MonaiApplicationEntities": Kind.CLARA_AE_TITLE,
    "SourceApplicationEntities": Kind.SOURCE,
    "DestinationApplicationEntities": Kind.DESTINATION,
}
_TABLES_WITHOUT_EQUAL = {
    "VirtualApplicationEntities": "virtual AE Titles (STOW-RS)",
    "HL7DestinationEntities": "HL7 destinations",
    "Hl7ApplicationConfig": "HL7 applications",
}
_HAVE_JSON = {"ignoredsopclasses", "allowedsopclasses", "workflows", "pluginassemblies", "processorsettings"}
# bare name -> field of the spec
_FIELDS: Mapping[Kind, Mapping[str, str]] = {
    Kind.CLARA_AE_TITLE: {
        "name": "name",
        "aetitle": "aeTitle",
        "pipelineid": "pipelineId",
        "timeout": "timeout",
        "overwritesameinstance": "overwriteSameInstance",
        "ignoredsopclasses": "ignoredSopClasses",
        "processors": "processors",
        "processor": "processor",
        "processorsettings": "processorSettings",
    },
    Kind.SOURCE: {"aetitle": "aeTitle", "hostip": "hostIp"},
    Kind.DESTINATION: {"name": "name", "aetitle": "aeTitle", "hostip": "hostIp", "port": "port"},
}
_FLAGS = {"overwriteSameInstance"}  # SQLite has 0 and 1
# Bare names that say nothing about what an entry is for.
_BOOKKEEPING = {"id", "createdby", "updatedby", "datetimecreated", "datetimeupdated", "remoteappexecutions"}
_NO_EQUAL = {
    "allowedsopclasses": "there is a list of SOP Classes to ignore, none of those to take: everything else is stored",
    "pluginassemblies": ".NET plug-ins; ours are Python (examples/processors)",
}


@dataclass(slots=True)
class Entry:
    """A resource to be made: the fields of its spec as the REST API takes them, and what was lost on the way."""

    kind: Kind
    spec: dict[str, Any]
    remarks: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """What people know it by."""
        return str(self.spec.get("name") or self.spec.get("aeTitle") or "without a name")


@dataclass(frozen=True, slots=True)
class Found:
    """Everything in a file. `remarks`: about what is no entry."""

    entries: Sequence[Entry]
    remarks: Sequence[str] = ()


def read(path: Path) -> Found:
    """Every AE Title, source and destination of a file. Raises ConfigError for a file that holds none."""
    try:
        with path.open("rb") as file:
            is_database = file.read(len(_SQLITE)) == _SQLITE
            found = _from_database(path) if is_database else _from_json(path)
    except OSError as error:
        raise ConfigError([Problem(f"cannot read the file: {error.strerror or error}")], str(path)) from None
    if not found.entries:
        message = "no AE Title, source or destination is in it"
        raise ConfigError([Problem(message, allowed="JSON, or a SQLite database, of one of these")], str(path))
    return found


def name_pipeline(entries: Iterable[Entry], pipeline: str) -> None:
    """Give a pipeline to the AE Titles that name none."""
    for entry in entries:
        if needs_pipeline(entry):
            entry.spec["pipelineId"] = pipeline


def needs_pipeline(entry: Entry) -> bool:
    """Whether it is an AE Title whose batches become jobs of no pipeline yet."""
    if entry.kind is not Kind.CLARA_AE_TITLE or entry.spec.get("pipelineId"):
        return False
    processors = entry.spec.get("processors") or [entry.spec.get("processor") or "job"]
    return any(is_job_processor(str(name)) for name in processors) and not _pipelines(entry)


# --- SQLite ---------------------------------------------------------------------------------------------------------


def _from_database(path: Path) -> Found:
    entries: list[Entry] = []
    remarks: list[str] = []
    try:
        with closing(sqlite3.connect(f"file:{url_quote(str(path.absolute()))}?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            names = {row["name"] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            for table, kind in _TABLES.items():
                if table in names:
                    rows = database.execute(f'SELECT * FROM "{table}"').fetchall()  # the name is ours, not the file's
                    entries += [_entry(_row(row), kind) for row in rows]
            for table, words in _TABLES_WITHOUT_EQUAL.items():
                count = database.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0] if table in names else 0
                if count:
                    remarks.append(f"{count} {words}: they have no equal")
    except sqlite3.Error as error:
        raise ConfigError([Problem(f"the database cannot be read: {error}")], str(path)) from None
    return Found(entries, remarks)


def _row(row: sqlite3.Row) -> dict[str, Any]:
    return {name: _column(name, row[name]) for name in row.keys() if row[name] is not None}  # noqa: SIM118 - no mapping


def _column(name: str, value: Any) -> Any:
    if _bare(name) in _HAVE_JSON and isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value  # the schema says what is wrong with it
    return value


# --- JSON -----------------------------------------------------------------------------------------------------------


def _from_json(path: Path) -> Found:
    if path.stat().st_size > MAX_BYTES:
        raise ConfigError([Problem("the file is too large", allowed="16 MiB")], str(path))
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):
        raise ConfigError([Problem("neither JSON nor a SQLite database")], str(path)) from None
    return Found([_entry(*found) for found in _objects(value)])


def _objects(value: Any) -> Iterator[tuple[Mapping[str, Any], Kind]]:
    """Every entry with its kind: of a list, of lists in a mapping, or of Kubernetes resources."""
    if isinstance(value, list):
        for item in value:
            yield from _objects(item)
    elif isinstance(value, Mapping):
        spec = value.get("spec")
        if isinstance(spec, Mapping) and value.get("kind") in set(Kind):
            yield spec, Kind(value["kind"])
        elif (kind := _kind_of(value)) is not None:
            yield value, kind
        else:
            for item in value.values():
                if isinstance(item, list):
                    yield from _objects(item)


def _kind_of(entry: Mapping[str, Any]) -> Kind | None:
    names = {_bare(name) for name in entry}
    if "aetitle" not in names:
        return None
    if "hostip" not in names:
        return Kind.CLARA_AE_TITLE
    return Kind.DESTINATION if "port" in names else Kind.SOURCE


# --- one entry ------------------------------------------------------------------------------------------------------


def _bare(name: str) -> str:
    return name.replace("-", "").replace("_", "").lower()


def _entry(found: Mapping[str, Any], kind: Kind) -> Entry:
    entry = Entry(kind, {})
    fields = _FIELDS[kind]
    rest: dict[str, Any] = {}
    for name, value in found.items():
        bare = _bare(name)
        if value is None or value in ("", [], {}):
            continue
        if bare in fields:
            entry.spec[fields[bare]] = bool(value) if fields[bare] in _FLAGS else value
        elif bare not in _BOOKKEEPING and not (kind is Kind.SOURCE and bare == "name"):  # it goes by its AE Title
            rest[bare] = (name, value)
    if kind is Kind.CLARA_AE_TITLE:
        _monai(entry, rest)
    for bare, (name, value) in rest.items():
        entry.remarks.append(f"{name} ({quote(value)}): {_NO_EQUAL.get(bare, 'unknown')}")
    return entry


def _monai(entry: Entry, rest: dict[str, Any]) -> None:
    """The gateway's words for what processorSettings say."""
    settings = dict(entry.spec.get("processorSettings") or {})
    if "grouping" in rest:
        settings["groupBy"] = rest.pop("grouping")[1]
    _, workflows = rest.pop("workflows", ("", ()))
    for workflow in workflows if isinstance(workflows, list) else ():
        settings[f"{processor_settings.PIPELINE}{workflow}"] = workflow
    if workflows:
        entry.remarks.append("workflows: each is taken as the id of a pipeline; define it under `pipelines`")
    if settings:
        entry.spec["processorSettings"] = settings


def _pipelines(entry: Entry) -> dict[str, str]:
    settings = entry.spec.get("processorSettings")
    texts = {str(key): str(value) for key, value in settings.items()} if isinstance(settings, Mapping) else {}
    return processor_settings.pipelines(texts)


# --- the configuration file -----------------------------------------------------------------------------------------


def as_yaml(entries: Iterable[Entry], head: Sequence[str] = ()) -> str:
    """The same as lists of the configuration file. `head`: lines of a comment above them."""
    by_kind: dict[Kind, list[Entry]] = {kind: [] for kind in Kind}
    for entry in entries:
        by_kind[entry.kind].append(entry)
    scp: dict[str, Any] = {}
    scu: dict[str, Any] = {}
    if ae_titles := by_kind[Kind.CLARA_AE_TITLE]:
        scp |= {"read-aetitles-from-crd": False, "ae-titles": [_ae_title(entry) for entry in ae_titles]}
    if sources := by_kind[Kind.SOURCE]:
        scp |= {"read-sources-from-crd": False, "sources": [_dashed(entry.spec) for entry in sources]}
    if destinations := by_kind[Kind.DESTINATION]:
        scu |= {"read-destinations-from-crd": False, "destinations": [_dashed(each.spec) for each in destinations]}
    dicom = {name: section for name, section in (("scp", scp), ("scu", scu)) if section}
    mappings = [mapping for entry in ae_titles for mapping in _mappings(entry)]
    return write({"dicom": dicom, **({"pipeline-mappings": mappings} if mappings else {})}, head)


def _dashed(spec: Mapping[str, Any]) -> dict[str, Any]:
    """aeTitle -> ae-title"""
    return {"".join(f"-{one.lower()}" if one.isupper() else one for one in name): value for name, value in spec.items()}


def _ae_title(entry: Entry) -> dict[str, Any]:
    spec = {key: value for key, value in entry.spec.items() if key not in ("name", "pipelineId", "processor")}
    if (processor := entry.spec.get("processor")) is not None and not is_job_processor(str(processor)):
        spec["processors"] = [processor]
    settings = spec.pop("processorSettings", {})
    named = _pipelines(entry)
    rest = {key: value for key, value in settings.items() if not processor_settings.pipelines({key: str(value)})}
    if "timeout" in rest and named:
        spec["timeout"] = rest.pop("timeout")
    return _dashed(spec) | ({"processor-settings": rest} if rest else {})


def _mappings(entry: Entry) -> Iterator[dict[str, str]]:
    title = entry.spec.get("aeTitle", "ClaraSCP")
    if pipeline := entry.spec.get("pipelineId"):
        yield {"name": pipeline, "clara-ae-title": title, "pipeline-id": pipeline}
    for name, id_ in _pipelines(entry).items():
        yield {"name": name, "clara-ae-title": title, "pipeline-id": id_}
