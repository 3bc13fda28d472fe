"""What others keep -> specs that our store takes, or lists of our file. Golden files for both databases."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dicom_adapter.config import ConfigError, load_text
from dicom_adapter.config.foreign import Entry, as_yaml, name_pipeline, needs_pipeline, read
from dicom_adapter.config.resources import Kind, parse_spec

FOLDER = Path(__file__).parents[2] / "fixtures" / "migration" / "databases"
SCRIPTS = sorted(FOLDER.glob("*.sql"))


def database(folder: Path, script: Path) -> Path:
    path = folder / f"{script.stem}.db"
    with closing(sqlite3.connect(path)) as made:
        made.executescript(script.read_text())
    return path


def as_json(folder: Path, value: Any) -> Path:
    path = folder / "list.json"
    path.write_text(json.dumps(value))
    return path


def specs(entries: list[Entry]) -> list[tuple[Kind, dict[str, Any]]]:
    return [(entry.kind, entry.spec) for entry in entries]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_golden_files(tmp_path: Path, script: Path) -> None:
    assert as_yaml(read(database(tmp_path, script)).entries) == script.with_suffix(".yaml").read_text()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_what_is_written_is_a_configuration_once_its_pipelines_are_known(tmp_path: Path, script: Path) -> None:
    found = read(database(tmp_path, script))
    name_pipeline(found.entries, "count")
    settings = load_text(as_yaml(found.entries), {}).settings
    assert [entry.ae_title for entry in settings.dicom.scp.sources] == ["CT1"]
    assert [entry.name for entry in settings.dicom.scu.destinations] == ["pacs"]
    assert len(settings.dicom.scp.ae_titles) == 2


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_our_store_takes_every_entry(tmp_path: Path, script: Path) -> None:
    found = read(database(tmp_path, script))
    name_pipeline(found.entries, "count")
    for entry in found.entries:
        parse_spec(entry.kind, entry.spec)


def test_the_gateway_groups_and_names_workflows_in_its_own_words(tmp_path: Path) -> None:
    found = read(database(tmp_path, FOLDER / "monai_0.4.sql"))
    brain, route, source, destination = found.entries
    assert brain.spec == {
        "name": "brain",
        "aeTitle": "BRAIN",
        "timeout": 300,
        "ignoredSopClasses": ["1.2.840.10008.5.1.4.1.1.7"],
        "processorSettings": {
            "groupBy": "0020,000D",
            "pipeline-EXAM": "EXAM",
            "pipeline-b75cd27a-068a-4f9c-b3da-e5d4ea08c55a": "b75cd27a-068a-4f9c-b3da-e5d4ea08c55a",
        },
    }
    assert specs([source, destination]) == [
        (Kind.SOURCE, {"aeTitle": "CT1", "hostIp": "192.0.2.7"}),
        (Kind.DESTINATION, {"name": "pacs", "aeTitle": "ARCHIVEX", "hostIp": "192.0.2.8", "port": 104}),
    ]
    assert [remark.partition(" (")[0] for remark in route.remarks] == ["AllowedSopClasses", "PlugInAssemblies"]
    assert found.remarks == ["1 virtual AE Titles (STOW-RS): they have no equal"]


def test_only_ae_titles_whose_batches_become_jobs_need_a_pipeline(tmp_path: Path) -> None:
    brain, route, *others = read(database(tmp_path, FOLDER / "monai_0.4.sql")).entries
    assert [needs_pipeline(entry) for entry in (brain, route, *others)] == [False, True, False, False]
    liver, sorter, *_ = read(database(tmp_path, FOLDER / "clara_0.8.2.sql")).entries
    assert not needs_pipeline(liver)
    assert not needs_pipeline(sorter)  # what its processor does is its own affair
    name_pipeline([brain, route], "count")
    assert (brain.spec.get("pipelineId"), route.spec["pipelineId"]) == (None, "count")


AE: dict[str, Any] = {"name": "brain", "aeTitle": "BRAIN", "pipelineId": "id", "timeout": 0}
SOURCE: dict[str, Any] = {"aeTitle": "CT1", "hostIp": "192.0.2.7"}
DESTINATION: dict[str, Any] = {"name": "pacs", "aeTitle": "PACS", "hostIp": "192.0.2.8", "port": 104}
EXPECTED = [(Kind.CLARA_AE_TITLE, AE), (Kind.SOURCE, SOURCE), (Kind.DESTINATION, DESTINATION)]


@pytest.mark.parametrize(
    "value",
    [
        [AE, SOURCE, DESTINATION],
        {"aeTitles": [AE], "sources": [SOURCE], "destinations": [DESTINATION]},
        {"kind": "List", "items": [{"kind": kind, "metadata": {}, "spec": spec} for kind, spec in EXPECTED]},
        [{"kind": f"{kind}List", "items": [{"kind": kind, "spec": spec}]} for kind, spec in EXPECTED],
        [{name.upper(): value for name, value in spec.items()} for spec in (AE, SOURCE, DESTINATION)],
    ],
    ids=["a list", "lists by name", "kubectl get a,b,c -o json", "three lists of resources", "other case"],
)
def test_lists_of_json(tmp_path: Path, value: Any) -> None:
    assert specs(list(read(as_json(tmp_path, value)).entries)) == EXPECTED


def test_a_field_that_nobody_knows_is_told(tmp_path: Path) -> None:
    (entry,) = read(as_json(tmp_path, [{**SOURCE, "vendor": "a\x1bb", "note": ""}])).entries
    assert entry.remarks == ["vendor ('a\\x1bb'): unknown"]


@pytest.mark.parametrize("content", [b"", b"hello", b"[]", b"{}", b'[{"name": "x"}]', b"[" * 100_000, b"\xff\xfe"])
def test_a_file_without_entries_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "list.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert "allowed: " in str(caught.value) or "neither JSON nor" in str(caught.value)


def test_a_broken_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "broken.db"
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 4096)
    with pytest.raises(ConfigError, match="the database cannot be read"):
        read(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the file"):
        read(tmp_path / "nothing.db")


def test_a_database_is_only_read(tmp_path: Path) -> None:
    path = database(tmp_path, SCRIPTS[0])
    before = path.read_bytes()
    path.chmod(0o400)
    read(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
