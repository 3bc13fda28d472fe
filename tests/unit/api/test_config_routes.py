"""The nine specified calls, with the example requests of the specification, over the stores that there are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy.exc import OperationalError

from dicom_adapter.api.app import create_app
from dicom_adapter.api.view import View
from dicom_adapter.config.resources import Kind
from dicom_adapter.config.schema import Settings
from dicom_adapter.config.store import ConfigStore
from dicom_adapter.config_stores.database import DatabaseConfigStore
from dicom_adapter.config_stores.file import FileConfigStore
from tests.databases import fresh
from tests.fakes import FakeClock
from tests.unit.api.test_routes import FakeLive

pytestmark = pytest.mark.anyio
JSON = {"Content-Type": "application/json"}
PATHS = {
    "/api/config/claraaetitle": Kind.CLARA_AE_TITLE,
    "/api/config/sourceaetitle": Kind.SOURCE,
    "/api/config/destinationaetitle": Kind.DESTINATION,
}
# As they are printed in the specification, 12.1.6.4 to 12.1.6.6.
PRINTED = {
    "/api/config/claraaetitle": """{ "name": "clara-brain-tumor", "pipelineId": "7b9cda79ed834fdc87cd4169216c4011",
        "aeTitle": "BrainTumorModel", "timeout": 0 }""",
    "/api/config/sourceaetitle": """{ "hostIp": "1.2.3.4", "aeTitle": "Orthanc" }""",
    "/api/config/destinationaetitle": """{ "name":"pacs", "hostIp": "10.20.30.40", "aeTitle": "ARCHIVEX",
        "port": 104 }""",
}
NAMES = dict(zip(PRINTED, ("clara-brain-tumor", "orthanc", "pacs"), strict=True))


class Away(DatabaseConfigStore):
    """A store whose database is locked."""

    async def version(self) -> int:
        raise OperationalError("SELECT secret", {}, Exception("database is locked"))


class Api:
    def __init__(self, store: ConfigStore, folder: Path) -> None:
        view = View(fresh(folder), FakeClock(), FakeLive(folder), lambda: None, lambda _kind: store)
        transport = httpx2.ASGITransport(app=create_app(view, []))
        self.client = httpx2.AsyncClient(transport=transport, base_url="http://localhost:5000")

    async def call(self, method: str, path: str, body: str | None = None, status: int = 200) -> Any:
        content = None if body is None else body.encode()
        answer = await self.client.request(method, path, content=content, headers=JSON)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/json"
        return answer.json()


@pytest.fixture
def api(tmp_path: Path) -> Api:
    store_folder = tmp_path / "store"
    store_folder.mkdir()
    return Api(DatabaseConfigStore(fresh(store_folder).engine, clock=lambda: 1_700_000_000.0), tmp_path)


@pytest.mark.parametrize(("path", "kind"), PATHS.items())
async def test_an_empty_list(api: Api, path: str, kind: Kind) -> None:
    found = await api.call("GET", path)
    assert (found["apiVersion"], found["kind"], found["items"]) == (
        "dicom.clara.nvidia.com/v1beta2",
        f"{kind}List",
        [],
    )
    assert found["metadata"].keys() == {"continue", "resourceVersion", "selfLink"}


@pytest.mark.parametrize("path", PATHS)
async def test_the_printed_requests_create_and_the_list_shows_what_they_made(api: Api, path: str) -> None:
    made = await api.call("POST", path, PRINTED[path])
    assert made["kind"] == PATHS[path]
    assert made["metadata"]["name"] == NAMES[path]
    assert made["metadata"]["creationTimestamp"] == "2023-11-14T22:13:20Z"
    assert made["status"]["Enabled"] is True
    (accepted,) = made["status"]["conditions"]
    assert (accepted["type"], accepted["status"]) == ("Accepted", "True")
    assert accepted["lastTransitionTime"] == "2023-11-14T22:13:20Z"
    assert (await api.call("GET", path))["items"] == [made]


async def test_the_printed_delete_with_its_body(api: Api) -> None:
    made = await api.call("POST", "/api/config/claraaetitle", PRINTED["/api/config/claraaetitle"])
    body = """{ "name": "clara-brain-tumor1", "pipelineId": "7b9cda79ed834fdc87cd4169216c4011",
        "aeTitle": "BrainTumor1", "timeout": 0 }"""
    gone = await api.call("DELETE", "/api/config/claraaetitle/clara-brain-tumor", body)
    assert (gone["apiVersion"], gone["kind"], gone["status"], gone["metadata"]) == ("v1", "Status", "Success", {})
    assert gone["details"] == {
        "name": "clara-brain-tumor",
        "group": "dicom.clara.nvidia.com",
        "kind": "claraaetitles",
        "uid": made["metadata"]["uid"],
    }
    assert (await api.call("GET", "/api/config/claraaetitle"))["items"] == []


@pytest.mark.parametrize("path", PATHS)
async def test_a_delete_needs_neither_body_nor_type(api: Api, path: str) -> None:
    await api.call("POST", path, PRINTED[path])
    answer = await api.client.delete(f"{path}/{NAMES[path].upper()}")
    assert answer.status_code == 200


async def test_paths_are_of_any_case(api: Api) -> None:
    await api.call("POST", "/Api/CONFIG/ClaraAeTitle", PRINTED["/api/config/claraaetitle"])
    assert len((await api.call("GET", "/api/config/CLARAAETITLE"))["items"]) == 1
    await api.call("DELETE", "/API/config/ClaraAETitle/Clara-Brain-Tumor")


def assert_failure(answer: Any, code: int, reason: str, words: str) -> None:
    """A Kubernetes Status, with the words of problem+json beside it."""
    assert (answer["apiVersion"], answer["kind"], answer["status"]) == ("v1", "Status", "Failure")
    assert (answer["code"], answer["reason"]) == (code, reason)
    assert words in answer["message"]
    assert answer["detail"] == answer["message"]
    assert answer["title"]


@pytest.mark.parametrize("path", PATHS)
async def test_what_exists_is_not_made_again(api: Api, path: str) -> None:
    await api.call("POST", path, PRINTED[path])
    answer = await api.call("POST", path, PRINTED[path], 400)
    assert_failure(answer, 400, "AlreadyExists", "already exists: delete that one first")


@pytest.mark.parametrize(
    ("body", "reason", "words"),
    [
        ("", "BadRequest", "not JSON"),
        ("{", "BadRequest", "not JSON"),
        ("[]", "BadRequest", "one JSON object"),
        ("[" * 100_000, "BadRequest", "nested too deeply"),
        ('{"name": "a", "name": "b"}', "BadRequest", "a key stands twice"),
        ('{"timeout": NaN}', "BadRequest", "NaN is not JSON"),
        ('{"processorSettings": {"a": 1e999}}', "BadRequest", "1e999 is too large a number"),
        ('{"name": "\\ud800"}', "BadRequest", "not Unicode"),
        ('{"name": "a", "aeTitle": "SEVENTEEN CHARS17", "pipelineId": "p"}', "Invalid", "aeTitle"),
        ('{"name": "../a", "aeTitle": "A", "pipelineId": "p"}', "Invalid", "name"),
        ('{"name": "a", "aeTitle": "A"}', "Invalid", "pipelineId: required"),
        ('{"name": "a", "aeTitle": "A"}', "Invalid", "for AE Title A. Correct the field"),
        ('{"name": "a", "aeTitle": "A", "pipelineId": "p", "colour": 1}', "Invalid", "colour"),
    ],
)
async def test_what_cannot_be_taken_says_why(api: Api, body: str, reason: str, words: str) -> None:
    answer = await api.call("POST", "/api/config/claraaetitle", body, 400)
    assert_failure(answer, 400, reason, words)
    assert (await api.call("GET", "/api/config/claraaetitle"))["items"] == []


async def test_a_body_of_unknown_length_is_bounded(api: Api) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(3 * 1024):
            yield b" " * 1024

    answer = await api.client.post("/api/config/claraaetitle", content=endless(), headers=JSON)
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")


@pytest.mark.parametrize("path", PATHS)
async def test_a_name_that_is_not_there(api: Api, path: str) -> None:
    assert_failure(await api.call("DELETE", f"{path}/nobody", status=404), 404, "NotFound", "nobody")


async def test_lists_of_the_file_are_shown_and_cannot_be_changed(tmp_path: Path) -> None:
    settings = Settings.model_validate({"dicom": {"scp": {"sources": [{"host-ip": "1.2.3.4", "ae-title": "ORTHANC"}]}}})
    api = Api(FileConfigStore(settings), tmp_path)
    (source,) = (await api.call("GET", "/api/config/sourceaetitle"))["items"]
    assert source["spec"] == {"aeTitle": "ORTHANC", "hostIp": "1.2.3.4"}
    refused = await api.call("POST", "/api/config/sourceaetitle", PRINTED["/api/config/sourceaetitle"], 503)
    assert_failure(refused, 503, "ServiceUnavailable", "dicom.scp.sources of the configuration file")
    refused = await api.call("DELETE", "/api/config/sourceaetitle/orthanc", status=503)
    assert_failure(refused, 503, "ServiceUnavailable", "edit it and restart")


async def test_a_store_that_is_away(tmp_path: Path) -> None:
    api = Api(Away(fresh(tmp_path).engine), tmp_path)
    answer = await api.call("GET", "/api/config/claraaetitle", status=503)
    assert_failure(answer, 503, "ServiceUnavailable", "cannot be used now")
    assert "secret" not in str(answer)


async def test_the_openapi_document_names_the_nine_calls(api: Api) -> None:
    paths = (await api.call("GET", "/openapi.json"))["paths"]
    calls = {(method, path) for path in paths for method in paths[path] if path.startswith("/api/config/")}
    assert calls == {call for path in PATHS for call in (("get", path), ("post", path), ("delete", f"{path}/{{name}}"))}
