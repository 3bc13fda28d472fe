"""One suite over every ConfigStore: what they list, and that they agree on names, shapes and errors."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dicom_adapter.config import Settings
from dicom_adapter.config.resources import (
    ClaraAeTitle,
    Destination,
    InvalidResource,
    InvalidResourceError,
    Kind,
    Resource,
    as_json,
)
from dicom_adapter.config.store import AlreadyExistsError, ConfigStore, ConflictError, NotFoundError, ReadOnlyError
from dicom_adapter.config_stores.file import FileConfigStore
from tests import config_stores
from tests.config_stores import House

pytestmark = pytest.mark.anyio

SETTINGS = Settings.model_validate(
    {
        "dicom": {
            "scp": {
                "ae-titles": [
                    {"ae-title": "BrainTumor", "timeout": 5},
                    {"ae-title": "BRAINTUMOR", "processors": ["x:Y"]},
                ],
                "sources": [{"host-ip": "1.2.3.4", "ae-title": "ORTHANC"}],
            },
            "scu": {"destinations": [{"name": "PACS", "host-ip": "::1", "port": 104, "ae-title": "ARCHIVE"}]},
        },
        "pipeline-mappings": [{"name": "p", "clara-ae-title": "BrainTumor", "pipeline-id": "7b9c"}],
    }
)

BODIES: dict[Kind, list[dict[str, object]]] = {
    Kind.CLARA_AE_TITLE: [
        {"name": "BrainTumor", "pipelineId": "7b9c", "aeTitle": "BrainTumor", "timeout": 5},
        {"name": "braintumor-2", "pipelineId": "7b9c", "aeTitle": "BRAINTUMOR", "processors": ["x:Y"]},
    ],
    Kind.SOURCE: [{"hostIp": "1.2.3.4", "aeTitle": "ORTHANC"}],
    Kind.DESTINATION: [{"name": "PACS", "hostIp": "::1", "aeTitle": "ARCHIVE", "port": 104}],
}
BRAIN, (ORTHANC,), (PACS,) = BODIES[Kind.CLARA_AE_TITLE][0], BODIES[Kind.SOURCE], BODIES[Kind.DESTINATION]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@pytest.fixture(params=["database", "kubernetes"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    """Each store that can be changed, empty."""
    async with config_stores.house(request.param, tmp_path) as made:
        yield made


@pytest.fixture
def store(house: House) -> ConfigStore:
    return house.store


@pytest.fixture(params=["file", "changeable"])
async def filled(request: pytest.FixtureRequest, house: House) -> ConfigStore:
    """Each store, holding the same resources."""
    if request.param == "file":
        house.namespace = "default"
        return FileConfigStore(SETTINGS)
    for kind, bodies in BODIES.items():
        for body in bodies:
            await house.store.create(kind, body)
    return house.store


def condition(resource: Resource) -> Mapping[str, Any]:
    status = as_json(resource)["status"]
    (only,) = status["conditions"]
    assert isinstance(only, dict)
    assert status["Enabled"] is (only["status"] == "True")
    return only


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (Kind.CLARA_AE_TITLE, ["braintumor", "braintumor-2"]),
        (Kind.SOURCE, ["orthanc"]),
        (Kind.DESTINATION, ["pacs"]),
    ],
)
async def test_list(house: House, filled: ConfigStore, kind: Kind, names: list[str]) -> None:
    resources = await filled.list(kind)
    assert [resource.metadata.name for resource in resources] == names
    for resource in resources:
        shown = as_json(resource)
        assert shown["apiVersion"] == "dicom.clara.nvidia.com/v1beta2"
        assert shown["kind"] == kind.value
        assert shown["metadata"]["namespace"] == house.namespace
        assert shown["status"]["Enabled"] is True


async def test_status_says_since_when_it_is_in_force(filled: ConfigStore) -> None:
    for kind in Kind:
        for resource in await filled.list(kind):
            found = condition(resource)
            assert (found["type"], found["status"], found["reason"]) == ("Accepted", "True", "Accepted")
            assert found["observedGeneration"] == resource.metadata.generation == 1
            assert TIME.fullmatch(found["lastTransitionTime"])


async def test_specs_are_the_same_from_every_store(filled: ConfigStore) -> None:
    first, second = (as_json(resource)["spec"] for resource in await filled.list(Kind.CLARA_AE_TITLE))
    assert (first["aeTitle"], first["pipelineId"], first["timeout"]) == ("BrainTumor", "7b9c", 5)
    assert first["overwriteSameInstance"] is False
    assert second["processors"] == ["x:Y"]
    (destination,) = (as_json(resource)["spec"] for resource in await filled.list(Kind.DESTINATION))
    assert destination == {"name": "PACS", "aeTitle": "ARCHIVE", "hostIp": "::1", "port": 104}
    (source,) = (as_json(resource)["spec"] for resource in await filled.list(Kind.SOURCE))
    assert source == {"aeTitle": "ORTHANC", "hostIp": "1.2.3.4"}


async def test_listing_does_not_change_the_version(filled: ConfigStore) -> None:
    before = await filled.version()
    for kind in Kind:
        await filled.list(kind)
    assert await filled.version() == before


async def test_a_list_belongs_to_the_caller(filled: ConfigStore) -> None:
    (await filled.list(Kind.SOURCE)).clear()
    assert len(await filled.list(Kind.SOURCE)) == 1


async def test_one_is_found_by_its_name_in_any_case(filled: ConfigStore) -> None:
    (listed,) = await filled.list(Kind.DESTINATION)
    assert await filled.get(Kind.DESTINATION, "PACS") == listed
    with pytest.raises(NotFoundError):
        await filled.get(Kind.DESTINATION, "elsewhere")


# --- the read-only one


async def test_the_lists_of_the_file_cannot_be_changed() -> None:
    store = FileConfigStore(SETTINGS)
    with pytest.raises(ReadOnlyError, match=r"dicom\.scp\.sources"):
        await store.create(Kind.SOURCE, ORTHANC)
    with pytest.raises(ReadOnlyError, match=r"dicom\.scu\.destinations"):
        await store.delete(Kind.DESTINATION, "pacs")
    with pytest.raises(ReadOnlyError, match=r"dicom\.scp\.sources"):
        await store.replace(Kind.SOURCE, "orthanc", ORTHANC)


# --- those that can be changed


async def test_create_answers_with_the_whole_resource(store: ConfigStore) -> None:
    created = await store.create(Kind.CLARA_AE_TITLE, BRAIN)
    (listed,) = await store.list(Kind.CLARA_AE_TITLE)
    assert listed.spec == created.spec
    assert condition(listed)["status"] == condition(created)["status"] == "True"
    assert TIME.fullmatch(created.metadata.creation_timestamp or "")
    assert listed.metadata.uid == created.metadata.uid != ""


async def test_every_change_is_counted(store: ConfigStore) -> None:
    versions = [await store.version()]
    await store.create(Kind.SOURCE, ORTHANC)
    versions.append(await store.version())
    await store.replace(Kind.SOURCE, "orthanc", {**ORTHANC, "hostIp": "1.2.3.5"})
    versions.append(await store.version())
    await store.delete(Kind.SOURCE, "orthanc")
    versions.append(await store.version())
    assert versions == sorted(set(versions))


@pytest.mark.parametrize("kind", list(Kind))
async def test_a_name_is_taken_once_and_free_again(store: ConfigStore, kind: Kind) -> None:
    body = BODIES[kind][0]
    created = await store.create(kind, body)
    before = await store.version()
    with pytest.raises(AlreadyExistsError):
        await store.create(kind, body)
    assert await store.version() == before
    gone = await store.delete(kind, created.metadata.name.upper())
    assert (gone.metadata.uid, gone.spec) == (created.metadata.uid, created.spec)
    with pytest.raises(NotFoundError):
        await store.delete(kind, created.metadata.name)
    again = await store.create(kind, body)
    assert again.metadata.uid != created.metadata.uid


async def test_a_clara_ae_title_is_taken_once_whatever_its_name(store: ConfigStore) -> None:
    await store.create(Kind.CLARA_AE_TITLE, BRAIN)
    with pytest.raises(AlreadyExistsError, match="BrainTumor"):
        await store.create(Kind.CLARA_AE_TITLE, {**BRAIN, "name": "other"})


async def test_the_same_name_at_once_is_made_once(store: ConfigStore) -> None:
    tries = (store.create(Kind.SOURCE, ORTHANC) for _ in range(8))
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(outcome, AlreadyExistsError) for outcome in outcomes) == 7
    assert len(await store.list(Kind.SOURCE)) == 1


async def test_replace_keeps_the_name_and_counts_the_generation(store: ConfigStore) -> None:
    made = await store.create(Kind.DESTINATION, PACS)
    changed = await store.replace(Kind.DESTINATION, "PACS", {**PACS, "port": 11112})
    assert isinstance(changed, Destination)
    assert changed.spec.port == 11112
    assert changed.metadata.generation == condition(changed)["observedGeneration"] == 2
    assert changed.metadata.uid == made.metadata.uid
    assert changed.metadata.resource_version != made.metadata.resource_version
    (listed,) = await store.list(Kind.DESTINATION)
    assert listed.spec == changed.spec


async def test_replace_of_what_somebody_else_changed_is_a_conflict(store: ConfigStore) -> None:
    seen = (await store.create(Kind.SOURCE, ORTHANC)).metadata.resource_version
    changed = await store.replace(Kind.SOURCE, "orthanc", {**ORTHANC, "hostIp": "1.2.3.5"})
    with pytest.raises(ConflictError):
        await store.replace(Kind.SOURCE, "orthanc", ORTHANC, resource_version=seen)
    found = await store.get(Kind.SOURCE, "orthanc")
    assert found.spec == changed.spec
    await store.replace(Kind.SOURCE, "orthanc", ORTHANC, resource_version=found.metadata.resource_version)


@pytest.mark.parametrize(
    ("kind", "name", "change", "error"),
    [
        (Kind.SOURCE, "orthanc", {"aeTitle": "OTHER"}, InvalidResourceError),
        (Kind.DESTINATION, "pacs", {"name": "other"}, InvalidResourceError),
        (Kind.DESTINATION, "pacs", {"port": 0}, InvalidResourceError),
        (Kind.DESTINATION, "nowhere", {}, NotFoundError),
        (Kind.CLARA_AE_TITLE, "braintumor", {"aeTitle": "BRAINTUMOR"}, AlreadyExistsError),
    ],
)
async def test_a_replacement_that_is_refused_changes_nothing(
    store: ConfigStore, kind: Kind, name: str, change: dict[str, object], error: type[Exception]
) -> None:
    for body in BODIES[kind]:
        await store.create(kind, body)
    before = [resource.spec for resource in await store.list(kind)], await store.version()
    with pytest.raises(error):
        await store.replace(kind, name, {**BODIES[kind][0], **change})
    assert ([resource.spec for resource in await store.list(kind)], await store.version()) == before


async def test_destinations_whose_names_differ_in_case_only_are_one(store: ConfigStore) -> None:
    await store.create(Kind.DESTINATION, {**PACS, "name": "a b"})
    with pytest.raises(AlreadyExistsError):
        await store.create(Kind.DESTINATION, {**PACS, "name": "A B"})


async def test_resources_outlive_the_process(house: House) -> None:
    created = await house.store.create(Kind.SOURCE, ORTHANC)
    again = await house.reopen()
    (found,) = await again.list(Kind.SOURCE)
    assert (found.metadata.uid, found.spec) == (created.metadata.uid, created.spec)


INVALID = [
    (Kind.SOURCE, {"aeTitle": "A"}, "hostIp"),
    (Kind.SOURCE, {"aeTitle": "SEVENTEEN-LETTERS", "hostIp": "h"}, "aeTitle"),
    (Kind.SOURCE, {"aeTitle": "A\nB", "hostIp": "h"}, "aeTitle"),
    (Kind.SOURCE, {"aeTitle": "Ä", "hostIp": "h"}, "aeTitle"),
    (Kind.SOURCE, {"aeTitle": "A", "hostIp": "../../etc"}, "hostIp"),
    (Kind.SOURCE, {"aeTitle": "A", "hostIp": "h", "port": 1}, "port"),
    (Kind.DESTINATION, {"name": "a/../b", "aeTitle": "A", "hostIp": "h", "port": 1}, "name"),
    (Kind.DESTINATION, {"name": "x" * 10_000, "aeTitle": "A", "hostIp": "h", "port": 1}, "name"),
    (Kind.DESTINATION, {"name": "a", "aeTitle": "A", "hostIp": "h", "port": 0}, "port"),
    (Kind.DESTINATION, {"name": "a", "aeTitle": "A", "hostIp": "h", "port": "104"}, "port"),
    (Kind.DESTINATION, {"name": "a", "aeTitle": "A", "hostIp": "h", "port": True}, "port"),
    (Kind.CLARA_AE_TITLE, {"name": "a", "aeTitle": "A"}, "pipelineId"),
    (Kind.CLARA_AE_TITLE, {"name": "a", "aeTitle": "A", "timeout": -1}, "timeout"),
    (Kind.CLARA_AE_TITLE, {"name": "a\0", "aeTitle": "A"}, "name"),
    (Kind.CLARA_AE_TITLE, {"name": "a", "aeTitle": "A", "ignoredSopClasses": ["x"]}, "ignoredSopClasses"),
    (Kind.CLARA_AE_TITLE, {"name": "a", "ae_title": "A", "pipelineId": "p"}, "ae_title"),
    (Kind.CLARA_AE_TITLE, {"aeTitle": "A", "processorSettings": {"pipeline-a": "p", "x": "y"}}, "x=y"),
]


@pytest.mark.parametrize(
    "settings",
    [
        {"pipeline-lung": "7b9c", "timeout": 5, "groupBy": "0020,000D", "priority": "higher", "jobRetryDelay": "500"},
        {"pipeline-lung": "7b9c", "timeout": "5"},
    ],
)
async def test_the_later_generation_names_its_pipelines_in_settings(
    store: ConfigStore, settings: dict[str, object]
) -> None:
    processor = "Nvidia.Clara.DicomAdapter.Server.Processors.AeTitleJobProcessor, Nvidia.Clara.DicomAdapter"
    await store.create(
        Kind.CLARA_AE_TITLE, {"name": "a", "aeTitle": "A", "processor": processor, "processorSettings": settings}
    )
    (listed,) = await store.list(Kind.CLARA_AE_TITLE)
    assert isinstance(listed, ClaraAeTitle)
    assert listed.spec.pipeline_ids == ("7b9c",)
    assert listed.spec.processor_settings["timeout"] == "5"
    shown = as_json(listed)["spec"]
    assert shown["processor"] == processor
    await store.replace(Kind.CLARA_AE_TITLE, "a", shown)  # what was read may be sent back


@pytest.mark.parametrize(("kind", "body", "field"), INVALID)
async def test_an_invalid_spec_is_refused_by_field(
    store: ConfigStore, kind: Kind, body: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidResourceError, match=field):
        await store.create(kind, body)
    assert await store.list(kind) == []


# --- what is kept there and is not right: another version wrote it, or a person past the adapter


async def test_what_breaks_a_rule_is_shown_with_the_reason(house: House) -> None:
    spec = {"name": "a", "aeTitle": "A", "processorSettings": {"colour": "blue"}}
    await house.put(Kind.CLARA_AE_TITLE, "a", spec)
    await house.put(Kind.CLARA_AE_TITLE, "b", {**BRAIN, "name": "b"})
    broken, good = await house.store.list(Kind.CLARA_AE_TITLE)
    assert isinstance(broken, InvalidResource)
    assert as_json(broken)["spec"] == spec
    assert condition(broken)["reason"] == "Invalid"
    assert "Processor setting ignored colour=blue." in condition(broken)["message"]
    assert isinstance(good, ClaraAeTitle)
    # It stays as it is, since when it is so too, and may be mended or deleted.
    (later, _) = await (await house.reopen()).list(Kind.CLARA_AE_TITLE)
    assert condition(later) == condition(broken)
    mended = await house.store.replace(Kind.CLARA_AE_TITLE, "a", {"name": "a", "aeTitle": "A", "pipelineId": "p"})
    assert condition(mended)["status"] == "True"
    await house.put(Kind.CLARA_AE_TITLE, "c", spec)
    await house.store.delete(Kind.CLARA_AE_TITLE, "c")
    assert [one.metadata.name for one in await house.store.list(Kind.CLARA_AE_TITLE)] == ["a", "b"]


async def test_of_two_for_one_ae_title_the_older_serves_until_it_goes(house: House) -> None:
    await house.put(Kind.CLARA_AE_TITLE, "a", {**BRAIN, "name": "a"})
    await house.put(Kind.CLARA_AE_TITLE, "b", {**BRAIN, "name": "b"})
    older, newer = await house.store.list(Kind.CLARA_AE_TITLE)
    assert isinstance(older, ClaraAeTitle)
    assert isinstance(newer, InvalidResource)
    assert condition(newer)["reason"] == "AlreadyExists"
    assert "a is older and serves" in condition(newer)["message"]
    before = await house.store.version()
    await house.store.delete(Kind.CLARA_AE_TITLE, "a")
    (now,) = await house.store.list(Kind.CLARA_AE_TITLE)
    assert isinstance(now, ClaraAeTitle)
    assert condition(now)["status"] == "True"
    assert await house.store.version() > before
