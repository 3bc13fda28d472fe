"""The file of the last known resources: of one namespace of one cluster, and never worth an error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dicom_adapter.config.resources import Kind
from dicom_adapter.config_stores.kubernetes.kept import Kept, Snapshot

ITEM = {"metadata": {"name": "a", "managedFields": [{"manager": "kubectl"}]}, "spec": {"aeTitle": "A", "hostIp": "h"}}
SNAPSHOT = Snapshot("https://cluster", "imaging", 1_700_000_000.5, {Kind.SOURCE: [ITEM], Kind.DESTINATION: []})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "new" / "cluster.json")
    kept.write(SNAPSHOT)
    found = kept.read("https://cluster", "imaging")
    assert found is not None
    assert (found.as_of, found.items.keys()) == (SNAPSHOT.as_of, SNAPSHOT.items.keys())
    assert found.items[Kind.SOURCE] == [{"metadata": {"name": "a"}, "spec": ITEM["spec"]}]
    assert kept.path.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in kept.path.parent.iterdir()] == ["cluster.json"]


def test_a_resource_without_a_spec_costs_no_other(tmp_path: Path) -> None:
    """Definitions of before had no schema: whatever was put into the cluster then is there still."""
    kept = Kept(tmp_path / "cluster.json")
    bare = {"metadata": {"name": "b"}}
    kept.write(Snapshot("https://cluster", "imaging", 1.0, {Kind.SOURCE: [bare, ITEM]}))
    found = kept.read("https://cluster", "imaging")
    assert found is not None
    assert [item["metadata"]["name"] for item in found.items[Kind.SOURCE]] == ["b", "a"]


def test_nothing_is_kept_at_first(tmp_path: Path) -> None:
    assert Kept(tmp_path / "cluster.json").read("https://cluster", "imaging") is None


@pytest.mark.parametrize(("server", "namespace"), [("https://other", "imaging"), ("https://cluster", "default")])
def test_what_is_of_another_cluster_is_not_served(tmp_path: Path, server: str, namespace: str) -> None:
    kept = Kept(tmp_path / "cluster.json")
    kept.write(SNAPSHOT)
    assert kept.read(server, namespace) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        json.dumps(
            {"server": "https://cluster", "namespace": "imaging", "asOf": 1, "items": {"sources": [{}]}}
        ).encode(),
        json.dumps({"server": "https://cluster", "namespace": "imaging", "asOf": 1, "items": {"sources": 7}}).encode(),
        json.dumps({"server": "https://cluster", "namespace": "imaging", "asOf": "x", "items": {}}).encode(),
    ],
)
def test_a_damaged_file_is_as_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cluster.json"
    path.write_bytes(content)
    assert Kept(path).read("https://cluster", "imaging") is None
