"""How a processor's name becomes a processor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_adapter.core.errors import PermanentError
from dicom_adapter.core.model import Batch
from dicom_adapter.core.ports import ProcessorContext
from dicom_adapter.core.snapshot import AE_TITLE_JOB_PROCESSOR, DEFAULT_PROCESSOR
from dicom_adapter.processors.job import JobProcessor
from dicom_adapter.processors.registry import available, resolve


class Own:
    async def process(self, batch: Batch, context: ProcessorContext) -> None: ...


class NotAsynchronous:
    def process(self, batch: Batch, context: ProcessorContext) -> None: ...


class NeedsArguments(Own):
    def __init__(self, argument: object) -> None: ...


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    resolve.cache_clear()
    yield
    resolve.cache_clear()


def installed(folder: Path, package: str, name: str, value: str) -> None:
    """What an installation leaves behind, as far as the registry can see."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[dicom_adapter.processors]\n{name} = {value}\n")


@pytest.mark.parametrize(
    "name",
    [
        "job",
        DEFAULT_PROCESSOR,
        DEFAULT_PROCESSOR.replace(",", ", "),  # as the specification prints it
        f" {DEFAULT_PROCESSOR} ",
        AE_TITLE_JOB_PROCESSOR,
        "Nvidia.Clara.DicomAdapter.Server.Processors.AeTitleJobProcessor, Nvidia.Clara.DicomAdapter",  # from 0.7.2 on
        "dicom_adapter.processors.job:JobProcessor",
    ],
)
def test_names_of_the_default_processor(name: str) -> None:
    assert isinstance(resolve(name), JobProcessor)


def test_a_class_of_any_module() -> None:
    found = resolve(f"{__name__}:Own")
    assert type(found).__name__ == "Own"
    assert resolve(f"{__name__}:Own") is found


def test_an_installed_plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, "mine", "mine", f"{__name__}:Own")
    monkeypatch.syspath_prepend(tmp_path)
    assert type(resolve("mine")).__name__ == "Own"
    assert available() == ["job", "mine"]


def test_two_plug_ins_of_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, "one", "mine", f"{__name__}:Own")
    installed(tmp_path, "two", "mine", f"{__name__}:NeedsArguments")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PermanentError, match="several packages"):
        resolve("mine")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("jobs", "'jobs' is not installed. There are: job"),
        ("Some.Other.Processor,Assembly", "is not installed"),
        ("", "is not installed"),
        ("no_such_module:Own", "cannot be loaded: ModuleNotFoundError"),
        (f"{__name__}:Missing", "cannot be loaded: AttributeError"),
        (f"{__name__}:NotAsynchronous", "async def process"),
        (f"{__name__}:installed", "async def process"),
        (f"{__name__}:NeedsArguments", "cannot be made: TypeError"),
    ],
)
def test_what_is_no_processor_is_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(PermanentError, match=reason.replace("(", r"\(")):
        resolve(name)


def test_a_failure_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PermanentError):
        resolve("late_processor:Late")
    (tmp_path / "late_processor.py").write_text("class Late:\n    async def process(self, batch, context): ...\n")
    assert type(resolve("late_processor:Late")).__name__ == "Late"
