"""One kind in step with the API server: watches end, break, and come too late."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dicom_adapter.config.resources import Kind
from dicom_adapter.config_stores.kubernetes import client as client_module
from dicom_adapter.config_stores.kubernetes import reflector as reflector_module
from dicom_adapter.config_stores.kubernetes.cluster import Access
from dicom_adapter.config_stores.kubernetes.store import KubernetesConfigStore
from tests.unit.config_stores.kubernetes.house import SOURCE, SOURCES, House, has, hosts
from tests.waiting import until

pytestmark = pytest.mark.anyio


async def test_what_others_do_is_seen(house: House) -> None:
    async with house.open() as store:
        assert (await store.list(Kind.SOURCE), house.changes) == ([], 0)
        house.kubectl_create(SOURCES, "orthanc", SOURCE)
        await until(lambda: has(store, "1.2.3.4"))
        house.kubectl_edit(SOURCES, "orthanc", {**SOURCE, "hostIp": "1.2.3.5"})
        await until(lambda: has(store, "1.2.3.5"))
        house.kubectl_delete(SOURCES, "orthanc")
        await until(lambda: has(store))
        assert house.changes == 3
        assert await store.version() == 4


async def test_a_status_is_no_change(house: House) -> None:
    async with house.open() as store:
        house.kubectl_create(SOURCES, "orthanc", SOURCE)
        await until(lambda: house.status(SOURCES, "orthanc").get("Enabled") is True)
        seen = house.fake.cluster.version
        # Both of our own writes came back by the watch before this one does.
        house.kubectl_create(SOURCES, "other", {**SOURCE, "aeTitle": "OTHER"})
        await until(lambda: has(store, "1.2.3.4", "1.2.3.4"))
        assert house.changes == 2
        assert seen >= 102


async def test_a_watch_goes_on_where_it_ended(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API server ends watches; by bookmarks one goes on behind a history that the server has forgotten."""
    monkeypatch.setattr(client_module, "WATCH", 1)
    async with house.open() as store:
        for number in range(3):
            house.kubectl_create(("imaging", "destinations"), f"d-{number}", {**SOURCE, "name": "d", "port": 1})
        await until(lambda: house.fake.count("watch sources") >= 2)
        house.kubectl_create(SOURCES, "orthanc", SOURCE)
        await until(lambda: has(store, "1.2.3.4"))
        assert house.fake.count("list sources") == 1
        assert store.stale() is None


async def test_what_is_too_old_is_listed_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.fake.bookmark_every = 3600.0
    async with house.open() as store:
        house.kubectl_create(SOURCES, "orthanc", SOURCE)
        await until(lambda: has(store, "1.2.3.4"))
        house.fake.stop()
        house.kubectl_delete(SOURCES, "orthanc")
        house.kubectl_create(SOURCES, "other", {**SOURCE, "hostIp": "h"})
        house.fake.compact()
        house.fake.start()
        await until(lambda: has(store, "h"))
        assert house.fake.count("list sources") >= 2


async def test_410_under_an_open_watch(house: House) -> None:
    async with house.open() as store:
        house.kubectl_create(SOURCES, "orthanc", SOURCE)
        house.fake.compact()  # whether or not the watch has seen it
        await until(lambda: house.fake.count("list sources") >= 2)
        await until(lambda: has(store, "1.2.3.4"))
        house.kubectl_delete(SOURCES, "orthanc")
        await until(lambda: has(store))


async def test_a_connection_that_breaks_loses_nothing(house: House) -> None:
    async with house.open() as store:
        for number in range(5):
            house.fake.drop_connections()
            house.kubectl_create(SOURCES, f"source-{number}", {**SOURCE, "hostIp": f"h{number}"})
            await until(lambda number=number: _is_last(store, f"h{number}"))  # type: ignore[misc]
        assert len(await store.list(Kind.SOURCE)) == 5
        await until(lambda: store.stale() is None)


async def test_a_watch_that_is_cut_off_now_and_then_is_no_failure_that_grows(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy before the API server ends connections on which nothing moves: each time a change would come later."""
    monkeypatch.setattr(reflector_module, "STEADY", 0.0)
    monkeypatch.setattr(reflector_module, "DELAYS", (0.02, 3600.0))
    async with house.open() as store:
        for number in range(1, 4):
            await until(lambda number=number: house.fake.count("watch sources") >= number)  # type: ignore[misc]
            house.fake.drop_connections()
        house.kubectl_create(SOURCES, "orthanc", SOURCE)
        await until(lambda: has(store, "1.2.3.4"))


async def test_a_server_that_ends_watches_at_once_is_not_run_over(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "WATCH", 0)
    monkeypatch.setattr(reflector_module, "DELAYS", (0.02, 3600.0))
    async with house.open():
        await until(lambda: house.fake.count("watch sources") >= 2)
        await asyncio.sleep(0.2)  # time for hundreds of them
        assert house.fake.count("watch sources") == 2


async def test_without_the_right_to_watch_lists_do(house: House) -> None:
    house.fake.forbidden = {("watch", "sources")}
    async with house.open() as store:
        house.kubectl_create(SOURCES, "orthanc", SOURCE)
        await until(lambda: has(store, "1.2.3.4"))


async def test_a_token_that_is_rotated_costs_nothing(house: House, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    house.fake.tokens = {"first"}
    house.access = Access(house.fake.kubeconfig(tmp_path, {"tokenFile": str(token)}), "imaging")
    async with house.open() as store:
        house.fake.tokens = {"second"}
        token.write_text("second")
        house.fake.drop_connections()
        house.kubectl_create(SOURCES, "orthanc", SOURCE)
        await until(lambda: has(store, "1.2.3.4"))
        assert (await store.create(Kind.SOURCE, {**SOURCE, "aeTitle": "OTHER"})).metadata.name == "other"


async def _is_last(store: KubernetesConfigStore, host: str) -> bool:
    return (await hosts(store))[-1:] == [host]
