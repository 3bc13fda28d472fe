"""The snapshot in force: replaced whole when the store changed, kept when it is away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_adapter.config.resources import Kind
from dicom_adapter.config.schema import Settings
from dicom_adapter.config_stores.database import DatabaseConfigStore
from dicom_adapter.config_stores.file import FileConfigStore
from dicom_adapter.manager.configuration import Configuration
from tests.databases import fresh

SETTINGS = Settings.model_validate({"dicom": {"scu": {"read-destinations-from-crd": True}}})
PACS = {"name": "PACS", "aeTitle": "ARCHIVE", "hostIp": "192.0.2.9", "port": 104}


class House:
    def __init__(self, folder: Path) -> None:
        self.database = fresh(folder)
        self.store = DatabaseConfigStore(self.database.engine)
        self.changes = 0
        self.configuration = Configuration(SETTINGS, FileConfigStore(SETTINGS), self.store, on_change=self._changed)

    def _changed(self) -> None:
        self.changes += 1


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.database.close()


async def test_a_change_is_in_force_after_the_next_look(house: House) -> None:
    await house.configuration.step()
    before = house.configuration.snapshot()
    await house.store.create(Kind.DESTINATION, PACS)
    await house.configuration.step()
    after = house.configuration.snapshot()
    assert (dict(before.destinations), list(after.destinations)) == ({}, ["pacs"])
    assert after.version > before.version
    assert house.changes == 2


async def test_nothing_happens_where_nothing_changed(house: House) -> None:
    await house.configuration.step()
    before = house.configuration.snapshot()
    await house.configuration.step()
    assert house.configuration.snapshot() is before
    assert house.changes == 1


async def test_ae_titles_that_are_gone_are_remembered_until_they_come_again(tmp_path: Path) -> None:
    database = fresh(tmp_path)
    store = DatabaseConfigStore(database.engine)
    settings = Settings()
    configuration = Configuration(settings, FileConfigStore(settings), store, on_change=lambda: None)
    brain = {"name": "brain", "aeTitle": "BRAIN", "pipelineId": "p"}
    await store.create(Kind.CLARA_AE_TITLE, brain)
    await configuration.step()
    first = configuration.snapshot().ae_titles["BRAIN"]
    assert first.uid
    assert configuration.snapshot().retired == {}
    await store.delete(Kind.CLARA_AE_TITLE, "brain")
    for number in range(2):  # and not only until the next change
        await store.create(Kind.SOURCE, {"aeTitle": f"S{number}", "hostIp": "h"})
        await configuration.step()
        assert configuration.snapshot().retired == {"BRAIN": first}
    await store.create(Kind.CLARA_AE_TITLE, brain)
    await configuration.step()
    assert configuration.snapshot().retired == {}
    assert configuration.snapshot().ae_titles["BRAIN"].uid != first.uid
    database.close()


async def test_a_store_that_is_away_changes_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await house.store.create(Kind.DESTINATION, PACS)
    await house.configuration.step()
    before = house.configuration.snapshot()
    await house.store.delete(Kind.DESTINATION, "pacs")

    async def away(_kind: Kind) -> list[object]:
        raise OSError("the store is away")

    with monkeypatch.context() as patch:
        patch.setattr(house.store, "list", away)
        with pytest.raises(OSError, match="away"):
            await house.configuration.step()
    assert house.configuration.snapshot() is before
    await house.configuration.step()  # the change is not forgotten
    assert dict(house.configuration.snapshot().destinations) == {}
