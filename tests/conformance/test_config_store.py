"""One suite over every ConfigStore: what they list, and that they agree on names, shapes and errors."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from dicom_adapter.config import Settings
from dicom_adapter.config.resources import (
    ClaraAeTitle,
    Destination,
    InvalidResourceError,
    Kind,
    as_json,
)
from dicom_adapter.config.store import AlreadyExistsError, ConfigStore, ConflictError, NotFoundError, ReadOnlyError
from dicom_adapter.config_stores.database import DatabaseConfigStore
from dicom_adapter.config_stores.file import FileConfigStore
from dicom_adapter.store.database import Database

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


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    database = Database(tmp_path / "config.db")
    yield database.engine
    database.close()


@pytest.fixture
def database(engine: Engine) -> DatabaseConfigStore:
    return DatabaseConfigStore(engine, clock=lambda: 1_700_000_000.0)


@pytest.fixture(params=["file", "database"])
def store(request: pytest.FixtureRequest, database: DatabaseConfigStore) -> ConfigStore:
    """Each store, holding the same resources."""
    if request.param == "file":
        return FileConfigStore(SETTINGS)

    async def fill() -> None:
        for kind, bodies in BODIES.items():
            for body in bodies:
                await database.create(kind, body)

    asyncio.run(fill())
    return database


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (Kind.CLARA_AE_TITLE, ["braintumor", "braintumor-2"]),
        (Kind.SOURCE, ["orthanc"]),
        (Kind.DESTINATION, ["pacs"]),
    ],
)
def test_list(store: ConfigStore, kind: Kind, names: list[str]) -> None:
    resources = asyncio.run(store.list(kind))
    assert [resource.metadata.name for resource in resources] == names
    for resource in resources:
        shown = as_json(resource)
        assert shown["apiVersion"] == "dicom.clara.nvidia.com/v1beta2"
        assert shown["kind"] == kind.value
        assert shown["metadata"]["namespace"] == "default"
        assert shown["status"] == {"Enabled": True}


def test_specs_are_the_same_from_every_store(store: ConfigStore) -> None:
    first, second = (as_json(resource)["spec"] for resource in asyncio.run(store.list(Kind.CLARA_AE_TITLE)))
    assert (first["aeTitle"], first["pipelineId"], first["timeout"]) == ("BrainTumor", "7b9c", 5)
    assert first["overwriteSameInstance"] is False
    assert second["processors"] == ["x:Y"]
    (destination,) = (as_json(resource)["spec"] for resource in asyncio.run(store.list(Kind.DESTINATION)))
    assert destination == {"name": "PACS", "aeTitle": "ARCHIVE", "hostIp": "::1", "port": 104}
    (source,) = (as_json(resource)["spec"] for resource in asyncio.run(store.list(Kind.SOURCE)))
    assert source == {"aeTitle": "ORTHANC", "hostIp": "1.2.3.4"}


def test_listing_does_not_change_the_version(store: ConfigStore) -> None:
    async def versions() -> tuple[int, int]:
        before = await store.version()
        for kind in Kind:
            await store.list(kind)
        return before, await store.version()

    before, after = asyncio.run(versions())
    assert before == after


def test_a_list_belongs_to_the_caller(store: ConfigStore) -> None:
    asyncio.run(store.list(Kind.SOURCE)).clear()
    assert len(asyncio.run(store.list(Kind.SOURCE))) == 1


def test_one_is_found_by_its_name_in_any_case(store: ConfigStore) -> None:
    (listed,) = asyncio.run(store.list(Kind.DESTINATION))
    assert asyncio.run(store.get(Kind.DESTINATION, "PACS")) == listed
    with pytest.raises(NotFoundError):
        asyncio.run(store.get(Kind.DESTINATION, "elsewhere"))


# --- the read-only one


def test_the_lists_of_the_file_cannot_be_changed() -> None:
    store = FileConfigStore(SETTINGS)
    with pytest.raises(ReadOnlyError, match=r"dicom\.scp\.sources"):
        asyncio.run(store.create(Kind.SOURCE, BODIES[Kind.SOURCE][0]))
    with pytest.raises(ReadOnlyError, match=r"dicom\.scu\.destinations"):
        asyncio.run(store.delete(Kind.DESTINATION, "pacs"))
    with pytest.raises(ReadOnlyError, match=r"dicom\.scp\.sources"):
        asyncio.run(store.replace(Kind.SOURCE, "orthanc", BODIES[Kind.SOURCE][0]))


# --- those that can be changed


def test_create_answers_with_the_whole_resource(database: DatabaseConfigStore) -> None:
    created = asyncio.run(database.create(Kind.CLARA_AE_TITLE, BODIES[Kind.CLARA_AE_TITLE][0]))
    (listed,) = asyncio.run(database.list(Kind.CLARA_AE_TITLE))
    assert listed == created
    assert created.metadata.creation_timestamp == "2023-11-14T22:13:20Z"
    assert created.metadata.uid


def test_every_change_is_counted(database: DatabaseConfigStore) -> None:
    async def change() -> list[int]:
        versions = [await database.version()]
        await database.create(Kind.SOURCE, BODIES[Kind.SOURCE][0])
        versions.append(await database.version())
        await database.delete(Kind.SOURCE, "orthanc")
        versions.append(await database.version())
        return versions

    first, second, third = asyncio.run(change())
    assert first < second < third


@pytest.mark.parametrize("kind", list(Kind))
def test_a_name_is_taken_once_and_free_again(database: DatabaseConfigStore, kind: Kind) -> None:
    body = BODIES[kind][0]

    async def trip() -> None:
        created = await database.create(kind, body)
        before = await database.version()
        with pytest.raises(AlreadyExistsError):
            await database.create(kind, body)
        assert await database.version() == before
        assert await database.delete(kind, created.metadata.name) == created
        with pytest.raises(NotFoundError):
            await database.delete(kind, created.metadata.name)
        await database.create(kind, body)

    asyncio.run(trip())


def test_a_clara_ae_title_is_taken_once_whatever_its_name(database: DatabaseConfigStore) -> None:
    body = BODIES[Kind.CLARA_AE_TITLE][0]
    asyncio.run(database.create(Kind.CLARA_AE_TITLE, body))
    with pytest.raises(AlreadyExistsError, match="BrainTumor"):
        asyncio.run(database.create(Kind.CLARA_AE_TITLE, {**body, "name": "other"}))


def test_the_same_name_at_once_is_made_once(database: DatabaseConfigStore) -> None:
    async def race() -> list[object]:
        tries = (database.create(Kind.SOURCE, BODIES[Kind.SOURCE][0]) for _ in range(8))
        return list(await asyncio.gather(*tries, return_exceptions=True))

    outcomes = asyncio.run(race())
    assert sum(isinstance(outcome, AlreadyExistsError) for outcome in outcomes) == 7
    assert len(asyncio.run(database.list(Kind.SOURCE))) == 1


def test_replace_keeps_the_name_and_counts_the_generation(database: DatabaseConfigStore) -> None:
    made = asyncio.run(database.create(Kind.DESTINATION, BODIES[Kind.DESTINATION][0]))
    body = {**BODIES[Kind.DESTINATION][0], "port": 11112}
    changed = asyncio.run(database.replace(Kind.DESTINATION, "PACS", body))
    assert isinstance(changed, Destination)
    assert changed.spec.port == 11112
    assert changed.metadata.generation == 2
    assert changed.metadata.uid == made.metadata.uid
    assert changed.metadata.resource_version != made.metadata.resource_version
    assert asyncio.run(database.list(Kind.DESTINATION)) == [changed]


def test_replace_of_what_somebody_else_changed_is_a_conflict(database: DatabaseConfigStore) -> None:
    made = asyncio.run(database.create(Kind.SOURCE, BODIES[Kind.SOURCE][0]))
    seen = made.metadata.resource_version
    body = {**BODIES[Kind.SOURCE][0], "hostIp": "1.2.3.5"}
    changed = asyncio.run(database.replace(Kind.SOURCE, "orthanc", body, resource_version=seen))
    with pytest.raises(ConflictError):
        asyncio.run(database.replace(Kind.SOURCE, "orthanc", BODIES[Kind.SOURCE][0], resource_version=seen))
    assert asyncio.run(database.get(Kind.SOURCE, "orthanc")) == changed


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
def test_a_replacement_that_is_refused_changes_nothing(
    database: DatabaseConfigStore, kind: Kind, name: str, change: dict[str, object], error: type[Exception]
) -> None:
    for body in BODIES[kind]:
        asyncio.run(database.create(kind, body))
    before = asyncio.run(database.list(kind)), asyncio.run(database.version())
    with pytest.raises(error):
        asyncio.run(database.replace(kind, name, {**BODIES[kind][0], **change}))
    assert (asyncio.run(database.list(kind)), asyncio.run(database.version())) == before


def test_destinations_whose_names_differ_in_case_only_are_one(database: DatabaseConfigStore) -> None:
    asyncio.run(database.create(Kind.DESTINATION, {**BODIES[Kind.DESTINATION][0], "name": "a b"}))
    with pytest.raises(AlreadyExistsError):
        asyncio.run(database.create(Kind.DESTINATION, {**BODIES[Kind.DESTINATION][0], "name": "A B"}))


def test_resources_outlive_the_process(engine: Engine, database: DatabaseConfigStore) -> None:
    created = asyncio.run(database.create(Kind.SOURCE, BODIES[Kind.SOURCE][0]))
    again = DatabaseConfigStore(engine)
    assert asyncio.run(again.list(Kind.SOURCE)) == [created]
    assert asyncio.run(again.version()) == asyncio.run(database.version())


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
]


def test_the_later_generation_names_its_pipelines_in_settings(database: DatabaseConfigStore) -> None:
    body = {"name": "a", "aeTitle": "A", "processorSettings": {"pipeline-lung": "7b9c", "timeout": 5}}
    created = asyncio.run(database.create(Kind.CLARA_AE_TITLE, body))
    assert isinstance(created, ClaraAeTitle)
    assert created.spec.pipeline_ids == ("7b9c",)
    assert created.spec.processor_settings["timeout"] == "5"


@pytest.mark.parametrize(("kind", "body", "field"), INVALID)
def test_an_invalid_spec_is_refused_by_field(
    database: DatabaseConfigStore, kind: Kind, body: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidResourceError, match=field):
        asyncio.run(database.create(kind, body))
    assert asyncio.run(database.list(kind)) == []
