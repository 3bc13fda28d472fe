"""Fresh databases for tests: migrated once, then copied, as the migration takes longer than most tests."""

from __future__ import annotations

import functools
import shutil
import tempfile
from pathlib import Path

from dicom_adapter.store.database import Database


@functools.cache
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="dicom-adapter-tests-"))
    Database(folder / "adapter.db").close()  # the last connection folds the write-ahead log into the file
    return folder / "adapter.db"


def fresh(folder: Path) -> Database:
    """An empty database in this folder."""
    path = folder / "adapter.db"
    shutil.copy(_template(), path)
    return Database(path)
