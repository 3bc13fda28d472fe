"""Fixtures of the interoperability tests: our SCP, and each sample as a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_adapter.core.snapshot import ScpPolicy
from dicom_adapter.scp.threads import ConnectionSettings
from tests.interop.corpus import SAMPLES, Sample, prepare
from tests.scp_harness import SNAPSHOT, Scp, running


@pytest.fixture
def scp(tmp_path: Path) -> Iterator[Scp]:
    """Our SCP as AE Title BRAIN, open to every peer."""
    policy = ScpPolicy(reject_unknown_sources=False, max_associations=5)
    with running(tmp_path / "storage", replace(SNAPSHOT, scp=policy), settings=ConnectionSettings()) as scp:
        yield scp


@pytest.fixture(params=SAMPLES, ids=lambda sample: sample.name)
def sample(request: pytest.FixtureRequest) -> Sample:
    chosen: Sample = request.param
    return chosen


@pytest.fixture
def path(sample: Sample, tmp_path: Path) -> Path:
    """The sample as a Part 10 file."""
    return prepare(sample, tmp_path)


@pytest.fixture
def all_paths(tmp_path: Path) -> list[Path]:
    """Every sample as a Part 10 file."""
    folder = tmp_path / "samples"
    folder.mkdir()
    return [prepare(sample, folder) for sample in SAMPLES]
