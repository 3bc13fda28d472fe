"""Status in the cluster: written where it differs, by one of several, and not over what others wrote."""

from __future__ import annotations

import pytest

from dicom_adapter.config.resources import InvalidResource, Kind, as_json
from tests.unit.config_stores.kubernetes.house import BRAIN, SOURCE, SOURCES, House, generation, has
from tests.waiting import until

pytestmark = pytest.mark.anyio


async def test_status_is_written_once_by_all(house: House) -> None:
    async with house.open(), house.open(), house.open():
        house.kubectl_create(SOURCES, "orthanc", SOURCE)
        await until(lambda: house.status(SOURCES, "orthanc") != {})
        house.kubectl_edit(SOURCES, "orthanc", {**SOURCE, "hostIp": "h"})
        await until(lambda: generation(house.status(SOURCES, "orthanc")) == 2)
    written = [change for change in house.fake.cluster.history if change.type == "MODIFIED"]
    assert [generation(change.object.get("status", {})) for change in written] == [1, 1, 2]  # status, spec, status


async def test_status_says_why_not_and_since_when(house: House) -> None:
    key = ("imaging", "claraaetitles")
    async with house.open() as store:
        house.kubectl_create(key, "a", {**BRAIN, "processorSettings": {"colour": "blue"}})
        await until(lambda: house.status(key, "a").get("Enabled") is False)
        first = house.status(key, "a")["conditions"][0]
        assert (first["status"], first["reason"], first["observedGeneration"]) == ("False", "Invalid", 1)
        assert "Processor setting ignored colour=blue." in first["message"]
        house.kubectl_edit(key, "a", {**BRAIN, "processorSettings": {"shape": "round"}})
        await until(lambda: generation(house.status(key, "a")) == 2)
        second = house.status(key, "a")["conditions"][0]
        assert "shape=round" in second["message"]
        assert second["lastTransitionTime"] == first["lastTransitionTime"]
        (listed,) = await store.list(Kind.CLARA_AE_TITLE)
        assert isinstance(listed, InvalidResource)
        house.kubectl_edit(key, "a", BRAIN)
        await until(lambda: house.status(key, "a").get("Enabled") is True)


async def test_the_older_serves_whatever_the_order_of_names(house: House) -> None:
    key = ("imaging", "claraaetitles")
    house.kubectl_create(key, "z", {**BRAIN, "name": "z"})
    house.kubectl_create(key, "a", {**BRAIN, "name": "a"})
    with house.fake.cluster.changed:
        house.fake.cluster.objects[key]["z"]["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z"
    async with house.open() as store:
        assert [one.metadata.name for one in await store.list(Kind.CLARA_AE_TITLE)] == ["z", "a"]
        await until(lambda: house.status(key, "z").get("Enabled") is True)
        await until(lambda: house.status(key, "a").get("Enabled") is False)
        house.kubectl_delete(key, "z")
        await until(lambda: house.status(key, "a").get("Enabled") is True)


async def test_another_verdict_than_ours_is_left(house: House) -> None:
    """Another version of the adapter has other rules: neither fights for the last word."""
    async with house.open() as store:
        house.kubectl_create(SOURCES, "orthanc", SOURCE)
        await until(lambda: house.status(SOURCES, "orthanc") != {})
        theirs = {
            "Enabled": False,
            "conditions": [
                {
                    "type": "Accepted",
                    "status": "False",
                    "reason": "Invalid",
                    "message": "by other rules",
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                    "observedGeneration": 1,
                }
            ],
        }
        house.write_status(SOURCES, "orthanc", theirs)
        house.kubectl_create(SOURCES, "other", {**SOURCE, "aeTitle": "OTHER"})
        await until(lambda: house.status(SOURCES, "other") != {})
        assert house.status(SOURCES, "orthanc") == theirs
        assert [type(one).__name__ for one in await store.list(Kind.SOURCE)] == ["Source", "Source"]
        house.kubectl_edit(SOURCES, "orthanc", {**SOURCE, "hostIp": "h"})
        await until(lambda: house.status(SOURCES, "orthanc").get("Enabled") is True)


async def test_conditions_of_others_are_kept(house: House) -> None:
    foreign = {
        "type": "Audited",
        "status": "True",
        "reason": "Yes",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    house.kubectl_create(SOURCES, "orthanc", SOURCE)
    house.write_status(SOURCES, "orthanc", {"conditions": [foreign]})
    async with house.open():
        await until(lambda: len(house.status(SOURCES, "orthanc")["conditions"]) == 2)
    assert house.status(SOURCES, "orthanc")["conditions"][0] == foreign


async def test_without_the_right_to_write_status_everything_else_works(house: House) -> None:
    house.fake.forbidden = {("patch", "sources")}
    async with house.open() as store:
        house.kubectl_create(SOURCES, "orthanc", SOURCE)
        await until(lambda: has(store, "1.2.3.4"))
        (listed,) = await store.list(Kind.SOURCE)
        before = as_json(listed)["status"]
        assert before["Enabled"] is True
        house.kubectl_create(SOURCES, "other", {**SOURCE, "aeTitle": "OTHER"})
        await until(lambda: has(store, "1.2.3.4", "1.2.3.4"))
        assert as_json((await store.list(Kind.SOURCE))[0])["status"] == before
        house.fake.forbidden = set()
        await until(lambda: house.status(SOURCES, "orthanc").get("Enabled") is True)
