"""/api/v1/claraaetitles, sources, destinations: what the nine specified calls lack."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx2
import pytest

from dicom_adapter.api.app import create_app
from dicom_adapter.api.view import View
from dicom_adapter.config.schema import Settings
from dicom_adapter.config.store import ConfigStore
from dicom_adapter.config_stores.database import DatabaseConfigStore
from dicom_adapter.config_stores.file import FileConfigStore
from tests.databases import fresh
from tests.fakes import FakeClock
from tests.unit.api.test_routes import FakeLive

pytestmark = pytest.mark.anyio
SPECS: dict[str, dict[str, Any]] = {
    "claraaetitles": {"name": "brain", "aeTitle": "BrainTumor", "pipelineId": "7b9c"},
    "sources": {"aeTitle": "ORTHANC", "hostIp": "1.2.3.4"},
    "destinations": {"name": "Pacs", "aeTitle": "ARCHIVEX", "hostIp": "10.20.30.40", "port": 104},
}
NAMES = {"claraaetitles": "brain", "sources": "orthanc", "destinations": "pacs"}


class Api:
    def __init__(self, store: ConfigStore, folder: Path) -> None:
        self.woken = 0
        view = View(fresh(folder), FakeClock(), FakeLive(folder), self.wake, lambda _kind: store)
        transport = httpx2.ASGITransport(app=create_app(view, []))
        self.client = httpx2.AsyncClient(transport=transport, base_url="http://localhost:5000/api/v1/")

    def wake(self) -> None:
        self.woken += 1

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        status: int = 200,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Any:
        content = None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **headers}
        self.answer = await self.client.request(method, path, content=content, headers=sent)
        assert self.answer.status_code == status, self.answer.text
        if status >= 400:
            assert self.answer.headers["content-type"] == "application/problem+json"
        return self.answer.json()


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    folder = tmp_path / "store"
    folder.mkdir()
    made = Api(DatabaseConfigStore(fresh(folder).engine), tmp_path)
    yield made
    await made.client.aclose()


@pytest.mark.parametrize("plural", SPECS)
async def test_a_life(api: Api, plural: str) -> None:
    spec, path = SPECS[plural], f"{plural}/{NAMES[plural]}"
    made = await api.call("POST", plural, {"spec": spec}, 201)
    assert api.answer.headers["location"] == f"/api/v1/{path}"
    assert made["metadata"]["name"] == NAMES[plural]
    assert await api.call("GET", path) == made
    assert api.answer.headers["etag"] == f'"{made["metadata"]["resourceVersion"]}"'
    assert (await api.call("GET", plural))["items"] == [made]

    made["spec"]["aeTitle" if plural != "sources" else "hostIp"] = "OTHER"
    replaced = await api.call("PUT", path, made)  # as it was read
    assert replaced["spec"] == made["spec"]
    assert replaced["metadata"]["uid"] == made["metadata"]["uid"]
    assert int(replaced["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])

    gone = await api.call("DELETE", path)
    assert (gone["kind"], gone["status"], gone["details"]["name"]) == ("Status", "Success", NAMES[plural])
    assert api.woken == 3
    for method in ("GET", "DELETE"):
        assert "has this name" in (await api.call(method, path, status=404))["detail"]
    await api.call("PUT", path, {"spec": spec}, 404)


async def test_who_saw_an_older_one_does_not_replace_a_newer(api: Api) -> None:
    first = await api.call("POST", "sources", {"spec": SPECS["sources"]}, 201)
    tag = api.answer.headers["etag"]
    changed = {"spec": {**SPECS["sources"], "hostIp": "1.2.3.5"}}
    await api.call("PUT", "sources/orthanc", changed, headers={"If-Match": tag})
    second = await api.call("GET", "sources/orthanc")
    stale = {"spec": {**SPECS["sources"], "hostIp": "1.2.3.6"}}
    await api.call("PUT", "sources/orthanc", stale, 409, headers={"If-Match": tag})
    answer = await api.call("PUT", "sources/orthanc", {**stale, "metadata": first["metadata"]}, 409)
    assert "read it again" in answer["detail"]
    assert await api.call("GET", "sources/orthanc") == second
    await api.call("PUT", "sources/orthanc", stale, headers={"If-Match": "*"})


@pytest.mark.parametrize("tag", ["", "1", '"', '""', '"1", "2"'])
async def test_if_match_is_one_etag(api: Api, tag: str) -> None:
    await api.call("POST", "sources", {"spec": SPECS["sources"]}, 201)
    await api.call("PUT", "sources/orthanc", {"spec": SPECS["sources"]}, 400, headers={"If-Match": tag})


@pytest.mark.parametrize("plural", SPECS)
async def test_what_exists_is_not_made_again(api: Api, plural: str) -> None:
    await api.call("POST", plural, {"spec": SPECS[plural]}, 201)
    assert "already exists" in (await api.call("POST", plural, {"spec": SPECS[plural]}, 409))["detail"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], "one JSON object"),
        ({}, "spec: required"),
        ({"spec": []}, "spec: "),
        (SPECS["sources"], "aeTitle: "),
        ({"spec": SPECS["sources"], "apiVersion": "v1"}, "apiVersion: "),
        ({"spec": SPECS["sources"], "kind": "Destination"}, "kind: Destination, and this path takes Source"),
        ({"spec": SPECS["sources"], "metadata": {"name": "other"}}, "metadata.name: 'other'"),
        ({"spec": {**SPECS["sources"], "hostIp": "../a"}}, "hostIp: "),
        ({"spec": {**SPECS["sources"], "aeTitle": "SEVENTEEN CHARS17"}}, "aeTitle: "),
        ({"spec": {**SPECS["sources"], "aeTitle": "A\nB"}}, "aeTitle: "),
        ({"spec": {**SPECS["sources"], "aeTitle": "\u00e9"}}, "aeTitle: "),
        ({"spec": {**SPECS["sources"], "hostIp": "a" * 10_240}}, "hostIp: "),
    ],
)
async def test_what_cannot_be_taken_names_the_field(api: Api, body: Any, words: str) -> None:
    assert words in (await api.call("POST", "sources", body, 400))["detail"]
    await api.call("PUT", "sources/orthanc", body, 400)
    assert (await api.call("GET", "sources"))["items"] == []
    assert api.woken == 0


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("claraaetitles", ["brain", "lung"]),
        ("claraaetitles?aeTitle=LUNG", ["lung"]),
        ("claraaetitles?aeTitle=lung", []),
        ("claraaetitles?pipelineId=p1", ["lung"]),
        ("claraaetitles?pipelineId=p1&aeTitle=BrainTumor", []),
        ("claraaetitles?hostIp=1.2.3.4", []),
        ("sources?hostIp=1.2.3.4", ["orthanc"]),
        ("destinations?pipelineId=p1", []),
    ],
)
async def test_filters(api: Api, query: str, names: list[str]) -> None:
    for plural, spec in SPECS.items():
        await api.call("POST", plural, {"spec": spec}, 201)
    lung = {"name": "lung", "aeTitle": "LUNG", "processorSettings": {"pipeline-lung": "p1"}}
    await api.call("POST", "claraaetitles", {"spec": lung}, 201)
    assert [one["metadata"]["name"] for one in (await api.call("GET", query))["items"]] == names


async def test_a_whole_number_may_be_written_with_a_point(api: Api) -> None:
    made = await api.call("POST", "destinations", {"spec": {**SPECS["destinations"], "port": 104.0}}, 201)
    assert made["spec"]["port"] == 104
    await api.call("POST", "destinations", {"spec": {**SPECS["destinations"], "name": "b", "port": 104.5}}, 400)


async def test_a_filter_that_is_none_is_told(api: Api) -> None:
    assert "aetitle" in (await api.call("GET", "sources?aetitle=A", status=400))["detail"]


async def test_lists_of_the_file_are_shown_and_cannot_be_changed(tmp_path: Path) -> None:
    settings = Settings.model_validate({"dicom": {"scp": {"sources": [{"host-ip": "1.2.3.4", "ae-title": "ORTHANC"}]}}})
    api = Api(FileConfigStore(settings), tmp_path)
    assert (await api.call("GET", "sources/orthanc"))["spec"] == {"aeTitle": "ORTHANC", "hostIp": "1.2.3.4"}
    for method, path in (("POST", "sources"), ("PUT", "sources/orthanc"), ("DELETE", "sources/orthanc")):
        assert "edit it" in (await api.call(method, path, {"spec": SPECS["sources"]}, 403))["detail"]
