"""The configuration that a first start writes: where it goes, and its text."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

_DEFAULT_PATH = "~/.clara/charts/dicom-adapter/files/dicom-server-config.yaml"  # 12.1.2.1


def default_path() -> Path:
    """Where the configuration is when none is named."""
    return Path(_DEFAULT_PATH).expanduser()


def default_text() -> str:
    """The commented default."""
    return resources.files(__package__).joinpath("default.yaml").read_text(encoding="utf-8")
