"""A file in a second place."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_adapter.links import copy, link_or_copy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    return made


@pytest.fixture
def directory(folder: Path) -> Iterator[int]:
    made = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    yield made
    os.close(made)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"bytes")
    return path


def test_a_link_where_it_can_be(source: Path, folder: Path, directory: int) -> None:
    link_or_copy(source, "1", directory)
    assert (folder / "1").samefile(source)
    with pytest.raises(FileExistsError):
        link_or_copy(source, "1", directory)


def test_a_copy_takes_the_place_of_what_is_there_and_of_what_a_crash_left(
    source: Path, folder: Path, directory: int
) -> None:
    (folder / "1").write_bytes(b"other")
    (folder / ".1.part").touch(0o400)
    copy(source, "1", directory)
    assert (folder / "1").read_bytes() == b"bytes"
    assert [path.name for path in folder.iterdir()] == ["1"]


def test_a_copy_that_fails_leaves_nothing(
    source: Path, folder: Path, directory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        copy(source, "1", directory)
    assert list(folder.iterdir()) == []


def test_a_copy_follows_no_link(source: Path, tmp_path: Path, folder: Path, directory: int) -> None:
    os.symlink(source, tmp_path / "link")
    with pytest.raises(OSError, match="symbolic links"):
        copy(tmp_path / "link", "1", directory)
    assert list(folder.iterdir()) == []
