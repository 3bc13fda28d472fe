"""The layers of `.importlinter` hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports


def test_import_contracts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    assert lint_imports(config_filename=".importlinter", cache_dir=None) == EXIT_STATUS_SUCCESS
