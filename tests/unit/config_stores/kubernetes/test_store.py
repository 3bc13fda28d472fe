"""What makes a cluster more than a database: it goes away, and others change what is in it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dicom_adapter.config.resources import Kind, Resource, as_json
from dicom_adapter.config_stores.kubernetes import reflector as reflector_module
from dicom_adapter.config_stores.kubernetes import store as store_module
from dicom_adapter.config_stores.kubernetes.client import connect
from dicom_adapter.config_stores.kubernetes.cluster import Access
from dicom_adapter.config_stores.kubernetes.store import KubernetesConfigStore
from dicom_adapter.core.errors import TemporaryError
from tests.unit.config_stores.kubernetes.house import BRAIN, SOURCE, SOURCES, House, has, hosts
from tests.waiting import until

pytestmark = pytest.mark.anyio


async def test_only_the_kinds_that_are_asked_for_are_read(house: House) -> None:
    house.fake.forbidden = {("list", "claraaetitles"), ("list", "destinations")}
    store = KubernetesConfigStore(connect(house.access), [Kind.SOURCE], house.kept)
    await store.start()
    assert await store.list(Kind.SOURCE) == []
    await store.stop()


async def test_the_last_known_resources_go_on_serving(house: House) -> None:
    async with house.open() as store:
        await store.create(Kind.SOURCE, SOURCE)
        assert store.stale() is None
        house.fake.stop()
        await until(lambda: store.stale() is not None)
        before, version = store.stale(), await store.version()
        assert before is not None
        assert f"the API server {house.fake.url} cannot be reached" in before.reason
        assert await hosts(store) == ["1.2.3.4"]
        assert (await store.get(Kind.SOURCE, "orthanc")).metadata.name == "orthanc"
        for write in (
            store.create(Kind.SOURCE, {**SOURCE, "aeTitle": "B"}),
            store.replace(Kind.SOURCE, "orthanc", SOURCE),
            store.delete(Kind.SOURCE, "orthanc"),
        ):
            with pytest.raises(TemporaryError, match="cannot be reached"):
                await write
        later = store.stale()
        assert later is not None
        assert later.since == before.since
        house.fake.start()
        await until(lambda: store.stale() is None)
        assert await store.version() == version
        await store.create(Kind.SOURCE, {**SOURCE, "aeTitle": "B"})


async def test_a_start_while_it_is_away_serves_what_was_known(house: House) -> None:
    async with house.open() as store:
        await store.create(Kind.SOURCE, SOURCE)
        await store.create(Kind.CLARA_AE_TITLE, BRAIN)
        known = [*await store.list(Kind.SOURCE), *await store.list(Kind.CLARA_AE_TITLE)]
        await until(house.kept.exists)
        await until(lambda: "BRAIN" in house.kept.read_text() and "ORTHANC" in house.kept.read_text())
    house.fake.stop()
    async with house.open() as store:
        found = [*await store.list(Kind.SOURCE), *await store.list(Kind.CLARA_AE_TITLE)]
        assert [one.spec for one in found] == [one.spec for one in known]
        stale = store.stale()
        assert stale is not None
        assert "cannot be reached" in stale.reason
        house.fake.start()
        await until(lambda: store.stale() is None)
        house.kubectl_delete(SOURCES, "orthanc")
        await until(lambda: has(store))


async def test_since_when_outlives_restarts(house: House) -> None:
    async with house.open() as store:
        await until(house.kept.exists)
    house.fake.stop()
    async with house.open() as store:
        first = store.stale()
        await until(house.kept.exists)
    async with house.open() as store:
        assert first is not None
        second = store.stale()
        assert second is not None
        assert second.since == first.since


async def test_a_start_that_knows_nothing_says_what_to_do(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "PATIENCE", 0.3)
    house.fake.stop()
    with pytest.raises(TemporaryError, match=r"cannot be reached.*kubernetes\.enabled: false"):
        await house.make().start()


async def test_resources_of_another_namespace_are_not_served(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house.open():
        await until(house.kept.exists)
    house.fake.stop()
    house.access = Access(house.fake.kubeconfig(tmp_path), "other")
    monkeypatch.setattr(store_module, "PATIENCE", 0.3)
    with pytest.raises(TemporaryError, match="Nothing is known"):
        await house.make().start()


async def test_a_start_waits_for_a_server_that_is_late(house: House) -> None:
    house.fake.stop()
    starting = asyncio.create_task(house.make().start())
    await asyncio.sleep(0)
    house.fake.start()
    await starting


async def test_a_disk_that_is_full_costs_only_what_is_kept(house: House) -> None:
    house.kept.mkdir()
    async with house.open() as store:
        house.kubectl_create(SOURCES, "orthanc", SOURCE)
        await until(lambda: has(store, "1.2.3.4"))


async def test_a_replace_between_two_changes_of_others_is_made_on_the_latest(house: House) -> None:
    async with house.open() as store:
        await store.create(Kind.SOURCE, SOURCE)
        changes = iter(["h1", "h2"])

        def interfere(request: str) -> None:
            if request == "get sources" and (host := next(changes, None)):
                house.kubectl_edit(SOURCES, "orthanc", {**SOURCE, "hostIp": host})

        house.fake.on_request = interfere
        changed = await store.replace(Kind.SOURCE, "orthanc", {**SOURCE, "hostIp": "mine"})
        assert as_json(changed)["spec"]["hostIp"] == "mine"
        assert changed.metadata.generation == 4


async def test_a_write_returns_when_it_is_seen(house: House) -> None:
    async with house.open() as store:
        made: Resource = await store.create(Kind.SOURCE, SOURCE)
        assert await store.get(Kind.SOURCE, "orthanc") == made
        await store.delete(Kind.SOURCE, "orthanc")
        assert await store.list(Kind.SOURCE) == []


async def test_a_write_does_not_wait_for_ever(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "SEEN_WITHIN", 0.05)
    monkeypatch.setattr(reflector_module, "DELAYS", (3600.0,))
    async with house.open() as store:
        house.fake.forbidden = {("watch", "sources"), ("list", "sources")}
        house.fake.drop_connections()
        made = await store.create(Kind.SOURCE, SOURCE)
        assert made.metadata.name == "orthanc"
        assert as_json(made)["status"]["Enabled"] is True
        assert (await store.delete(Kind.SOURCE, "orthanc")).metadata.uid == made.metadata.uid
