"""What makes a cluster more than a database: it changes by itself, it goes away, and others serve from it too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dicom_adapter.config.resources import InvalidResource, Kind, Resource, as_json
from dicom_adapter.config_stores.kubernetes import client as client_module
from dicom_adapter.config_stores.kubernetes import reflector as reflector_module
from dicom_adapter.config_stores.kubernetes import store as store_module
from dicom_adapter.config_stores.kubernetes.client import connect
from dicom_adapter.config_stores.kubernetes.cluster import Access
from dicom_adapter.config_stores.kubernetes.store import KubernetesConfigStore
from dicom_adapter.core.errors import TemporaryError
from tests.config_stores import eventually
from tests.fake_kubernetes import FakeKubernetes

pytestmark = pytest.mark.anyio

SOURCES = ("imaging", "sources")
SOURCE = {"aeTitle": "ORTHANC", "hostIp": "1.2.3.4"}
BRAIN = {"name": "brain", "aeTitle": "BRAIN", "pipelineId": "p"}


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same steps, sooner: nothing below measures time."""
    monkeypatch.setattr(reflector_module, "DELAYS", (0.02, 0.1))
    monkeypatch.setattr(store_module, "RETRY", 0.1)


@pytest.fixture
def fake() -> Iterator[FakeKubernetes]:
    made = FakeKubernetes().start()
    yield made
    made.stop()


class House:
    """A cluster, and adapters that serve from it."""

    def __init__(self, fake: FakeKubernetes, folder: Path) -> None:
        self.fake = fake
        self.access = Access(fake.kubeconfig(folder), "imaging")
        self.kept = folder / "cluster.json"
        self.changes = 0

    def _changed(self) -> None:
        self.changes += 1

    def make(self) -> KubernetesConfigStore:
        return KubernetesConfigStore(connect(self.access), Kind, self.kept, on_change=self._changed)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[KubernetesConfigStore]:
        store = self.make()
        await store.start()
        try:
            yield store
        finally:
            await store.stop()

    def kubectl_create(self, key: tuple[str, str], name: str, spec: Mapping[str, object]) -> None:
        with self.fake.cluster.changed:
            self.fake.cluster.create(key, {"metadata": {"name": name}, "spec": {**spec}})

    def kubectl_edit(self, key: tuple[str, str], name: str, spec: Mapping[str, object]) -> None:
        with self.fake.cluster.changed:
            self.fake.cluster.update(key, name, {**self.fake.cluster.get(key, name), "spec": {**spec}})

    def write_status(self, key: tuple[str, str], name: str, status: Mapping[str, object]) -> None:
        with self.fake.cluster.changed:
            self.fake.cluster.update(key, name, {"status": {**status}}, status=True)

    def kubectl_delete(self, key: tuple[str, str], name: str) -> None:
        with self.fake.cluster.changed:
            self.fake.cluster.delete(key, name, None)

    def status(self, key: tuple[str, str], name: str) -> dict[str, Any]:
        with self.fake.cluster.changed:
            found: dict[str, Any] = self.fake.cluster.get(key, name).get("status", {})
            return found


@pytest.fixture
def house(fake: FakeKubernetes, tmp_path: Path) -> House:
    return House(fake, tmp_path)


async def hosts(store: KubernetesConfigStore) -> list[object]:
    return [as_json(one)["spec"].get("hostIp") for one in await store.list(Kind.SOURCE)]


async def has(store: KubernetesConfigStore, *expected: object) -> bool:
    return await hosts(store) == [*expected]


# --- it changes by itself


async def test_what_others_do_is_seen(house: House) -> None:
    async with house.open() as store:
        assert (await store.list(Kind.SOURCE), house.changes) == ([], 0)
        house.kubectl_create(SOURCES, "orthanc", SOURCE)
        await eventually(lambda: has(store, "1.2.3.4"))
        house.kubectl_edit(SOURCES, "orthanc", {**SOURCE, "hostIp": "1.2.3.5"})
        await eventually(lambda: has(store, "1.2.3.5"))
        house.kubectl_delete(SOURCES, "orthanc")
        await eventually(lambda: has(store))
        assert house.changes == 3
        assert await store.version() == 4


async def test_a_status_is_no_change(house: House) -> None:
    async with house.open() as store:
        house.kubectl_create(SOURCES, "orthanc", SOURCE)
        await eventually(lambda: _is(house.status(SOURCES, "orthanc").get("Enabled") is True))
        seen = house.fake.cluster.version
        # Both of our own writes came back by the watch before this one does.
        house.kubectl_create(SOURCES, "other", {**SOURCE, "aeTitle": "OTHER"})
        await eventually(lambda: has(store, "1.2.3.4", "1.2.3.4"))
        assert house.changes == 2
        assert seen >= 102


async def test_only_the_kinds_that_are_asked_for_are_read(house: House) -> None:
    house.fake.forbidden = {("list", "claraaetitles"), ("list", "destinations")}
    store = KubernetesConfigStore(connect(house.access), [Kind.SOURCE], house.kept)
    await store.start()
    assert await store.list(Kind.SOURCE) == []
    await store.stop()


# --- watches end, break, and come too late


async def test_a_watch_goes_on_where_it_ended(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API server ends watches; by bookmarks one goes on behind a history that the server has forgotten."""
    monkeypatch.setattr(client_module, "WATCH", 1)
    async with house.open() as store:
        for number in range(3):
            house.kubectl_create(("imaging", "destinations"), f"d-{number}", {**SOURCE, "name": "d", "port": 1})
        await eventually(lambda: _is(house.fake.count("watch sources") >= 2))
        house.kubectl_create(SOURCES, "orthanc", SOURCE)
        await eventually(lambda: has(store, "1.2.3.4"))
        assert house.fake.count("list sources") == 1
        assert store.stale() is None


async def test_what_is_too_old_is_listed_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.fake.bookmark_every = 3600.0
    async with house.open() as store:
        house.kubectl_create(SOURCES, "orthanc", SOURCE)
        await eventually(lambda: has(store, "1.2.3.4"))
        house.fake.stop()
        house.kubectl_delete(SOURCES, "orthanc")
        house.kubectl_create(SOURCES, "other", {**SOURCE, "hostIp": "h"})
        house.fake.compact()
        house.fake.start()
        await eventually(lambda: has(store, "h"))
        assert house.fake.count("list sources") >= 2


async def test_410_under_an_open_watch(house: House) -> None:
    async with house.open() as store:
        house.kubectl_create(SOURCES, "orthanc", SOURCE)
        house.fake.compact()  # whether or not the watch has seen it
        await eventually(lambda: _is(house.fake.count("list sources") >= 2))
        await eventually(lambda: has(store, "1.2.3.4"))
        house.kubectl_delete(SOURCES, "orthanc")
        await eventually(lambda: has(store))


async def test_a_connection_that_breaks_loses_nothing(house: House) -> None:
    async with house.open() as store:
        for number in range(5):
            house.fake.drop_connections()
            house.kubectl_create(SOURCES, f"source-{number}", {**SOURCE, "hostIp": f"h{number}"})
            await eventually(lambda number=number: _is_last(store, f"h{number}"))  # type: ignore[misc]
        assert len(await store.list(Kind.SOURCE)) == 5
        await eventually(lambda: _is(store.stale() is None))


async def test_a_server_that_ends_watches_at_once_is_not_run_over(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "WATCH", 0)
    monkeypatch.setattr(reflector_module, "DELAYS", (0.02, 3600.0))
    async with house.open():
        await eventually(lambda: _is(house.fake.count("watch sources") >= 2))
        await asyncio.sleep(0.2)  # time for hundreds of them
        assert house.fake.count("watch sources") == 2


async def test_without_the_right_to_watch_lists_do(house: House) -> None:
    house.fake.forbidden = {("watch", "sources")}
    async with house.open() as store:
        house.kubectl_create(SOURCES, "orthanc", SOURCE)
        await eventually(lambda: has(store, "1.2.3.4"))


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
        await eventually(lambda: has(store, "1.2.3.4"))
        assert (await store.create(Kind.SOURCE, {**SOURCE, "aeTitle": "OTHER"})).metadata.name == "other"


# --- it goes away


async def test_the_last_known_resources_go_on_serving(house: House) -> None:
    async with house.open() as store:
        await store.create(Kind.SOURCE, SOURCE)
        assert store.stale() is None
        house.fake.stop()
        await eventually(lambda: _is(store.stale() is not None))
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
        await eventually(lambda: _is(store.stale() is None))
        assert await store.version() == version
        await store.create(Kind.SOURCE, {**SOURCE, "aeTitle": "B"})


async def test_a_start_while_it_is_away_serves_what_was_known(house: House) -> None:
    async with house.open() as store:
        await store.create(Kind.SOURCE, SOURCE)
        await store.create(Kind.CLARA_AE_TITLE, BRAIN)
        known = [*await store.list(Kind.SOURCE), *await store.list(Kind.CLARA_AE_TITLE)]
        await eventually(lambda: _is("BRAIN" in house.kept.read_text() and "ORTHANC" in house.kept.read_text()))
    house.fake.stop()
    async with house.open() as store:
        found = [*await store.list(Kind.SOURCE), *await store.list(Kind.CLARA_AE_TITLE)]
        assert [one.spec for one in found] == [one.spec for one in known]
        stale = store.stale()
        assert stale is not None
        assert "cannot be reached" in stale.reason
        house.fake.start()
        await eventually(lambda: _is(store.stale() is None))
        house.kubectl_delete(SOURCES, "orthanc")
        await eventually(lambda: has(store))


async def test_since_when_outlives_restarts(house: House) -> None:
    async with house.open() as store:
        await eventually(lambda: _is(house.kept.exists()))
    house.fake.stop()
    async with house.open() as store:
        first = store.stale()
        await eventually(lambda: _is(house.kept.exists()))
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
        await eventually(lambda: _is(house.kept.exists()))
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
        await eventually(lambda: has(store, "1.2.3.4"))


# --- others serve from it too


async def test_status_is_written_once_by_all(house: House) -> None:
    async with house.open(), house.open(), house.open():
        house.kubectl_create(SOURCES, "orthanc", SOURCE)
        await eventually(lambda: _is(house.status(SOURCES, "orthanc") != {}))
        house.kubectl_edit(SOURCES, "orthanc", {**SOURCE, "hostIp": "h"})
        await eventually(lambda: _is(_generation(house.status(SOURCES, "orthanc")) == 2))
    written = [change for change in house.fake.cluster.history if change.type == "MODIFIED"]
    assert [_generation(change.object.get("status", {})) for change in written] == [1, 1, 2]  # status, spec, status


async def test_status_says_why_not_and_since_when(house: House) -> None:
    key = ("imaging", "claraaetitles")
    async with house.open() as store:
        house.kubectl_create(key, "a", {**BRAIN, "processorSettings": {"colour": "blue"}})
        await eventually(lambda: _is(house.status(key, "a").get("Enabled") is False))
        first = house.status(key, "a")["conditions"][0]
        assert (first["status"], first["reason"], first["observedGeneration"]) == ("False", "Invalid", 1)
        assert "Processor setting ignored colour=blue." in first["message"]
        house.kubectl_edit(key, "a", {**BRAIN, "processorSettings": {"shape": "round"}})
        await eventually(lambda: _is(_generation(house.status(key, "a")) == 2))
        second = house.status(key, "a")["conditions"][0]
        assert "shape=round" in second["message"]
        assert second["lastTransitionTime"] == first["lastTransitionTime"]
        (listed,) = await store.list(Kind.CLARA_AE_TITLE)
        assert isinstance(listed, InvalidResource)
        house.kubectl_edit(key, "a", BRAIN)
        await eventually(lambda: _is(house.status(key, "a").get("Enabled") is True))


async def test_the_older_serves_whatever_the_order_of_names(house: House) -> None:
    key = ("imaging", "claraaetitles")
    house.kubectl_create(key, "z", {**BRAIN, "name": "z"})
    house.kubectl_create(key, "a", {**BRAIN, "name": "a"})
    with house.fake.cluster.changed:
        house.fake.cluster.objects[key]["z"]["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z"
    async with house.open() as store:
        assert [one.metadata.name for one in await store.list(Kind.CLARA_AE_TITLE)] == ["z", "a"]
        await eventually(lambda: _is(house.status(key, "z").get("Enabled") is True))
        await eventually(lambda: _is(house.status(key, "a").get("Enabled") is False))
        house.kubectl_delete(key, "z")
        await eventually(lambda: _is(house.status(key, "a").get("Enabled") is True))


async def test_another_verdict_than_ours_is_left(house: House) -> None:
    """Another version of the adapter has other rules: neither fights for the last word."""
    async with house.open() as store:
        house.kubectl_create(SOURCES, "orthanc", SOURCE)
        await eventually(lambda: _is(house.status(SOURCES, "orthanc") != {}))
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
        await eventually(lambda: _is(house.status(SOURCES, "other") != {}))
        assert house.status(SOURCES, "orthanc") == theirs
        assert [type(one).__name__ for one in await store.list(Kind.SOURCE)] == ["Source", "Source"]
        house.kubectl_edit(SOURCES, "orthanc", {**SOURCE, "hostIp": "h"})
        await eventually(lambda: _is(house.status(SOURCES, "orthanc").get("Enabled") is True))


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
        await eventually(lambda: _is(len(house.status(SOURCES, "orthanc")["conditions"]) == 2))
    assert house.status(SOURCES, "orthanc")["conditions"][0] == foreign


async def test_without_the_right_to_write_status_everything_else_works(house: House) -> None:
    house.fake.forbidden = {("patch", "sources")}
    async with house.open() as store:
        house.kubectl_create(SOURCES, "orthanc", SOURCE)
        await eventually(lambda: has(store, "1.2.3.4"))
        (listed,) = await store.list(Kind.SOURCE)
        before = as_json(listed)["status"]
        assert before["Enabled"] is True
        house.kubectl_create(SOURCES, "other", {**SOURCE, "aeTitle": "OTHER"})
        await eventually(lambda: has(store, "1.2.3.4", "1.2.3.4"))
        assert as_json((await store.list(Kind.SOURCE))[0])["status"] == before
        house.fake.forbidden = set()
        await eventually(lambda: _is(house.status(SOURCES, "orthanc").get("Enabled") is True))


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


def _generation(status: dict[str, Any]) -> int:
    conditions = status.get("conditions") or [{}]
    return int(conditions[0].get("observedGeneration", 0))


async def _is(value: bool) -> bool:
    return value


async def _is_last(store: KubernetesConfigStore, host: str) -> bool:
    return (await hosts(store))[-1:] == [host]
