"""Fixtures for these tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_adapter.config_stores.kubernetes import reflector as reflector_module
from dicom_adapter.config_stores.kubernetes import store as store_module
from tests.fake_kubernetes import FakeKubernetes
from tests.unit.config_stores.kubernetes.house import House


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same steps, sooner: nothing below measures time."""
    monkeypatch.setattr(reflector_module, "DELAYS", (0.02, 0.1))
    monkeypatch.setattr(store_module, "RETRY", 0.1)


@pytest.fixture
def fake() -> Iterator[FakeKubernetes]:
    made = FakeKubernetes().start()
    yield made
    made.close()


@pytest.fixture
def house(fake: FakeKubernetes, tmp_path: Path) -> House:
    return House(fake, tmp_path)
