"""Files into and out of a payload, over a real connection."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dicom_adapter.core.errors import PermanentError, TemporaryError
from dicom_adapter.core.model import JobRef, PayloadFile
from dicom_adapter.core.ports import Payloads
from dicom_adapter.engines.clara_platform import wire
from dicom_adapter.engines.clara_platform.connection import ClaraPlatform
from dicom_adapter.engines.clara_platform.jobs_pb2 import JOB_PRIORITY_NORMAL
from dicom_adapter.testing.clara_platform.server import Server
from tests.clara_platform import COPY, UNKNOWN, connected, serving

CONTENTS = {
    "empty": b"",
    "byte": b"1",
    "chunk": bytes(wire.CHUNK),
    "more": b"ab" * (wire.CHUNK // 2) + b"c",
    "Folder/Name.dcm": b"case",
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path) as server:
        yield server


@pytest.fixture
async def platform(server: Server) -> AsyncIterator[ClaraPlatform]:
    async with connected(server.endpoint) as platform:
        yield platform


@pytest.fixture
def ref(server: Server) -> JobRef:
    job = server.platform.create(COPY, "lung-b1", JOB_PRIORITY_NORMAL, {})
    return JobRef(job.id, job.payload_id)


def written(folder: Path, contents: Mapping[str, bytes]) -> list[PayloadFile]:
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return [PayloadFile(str(folder / name), name) for name in contents]


def stored(server: Server, ref: JobRef) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in server.platform.files(ref.payload_id).items()}


async def test_there_and_back(server: Server, platform: ClaraPlatform, ref: JobRef, tmp_path: Path) -> None:
    await platform.payloads.upload(ref.payload_id, written(tmp_path / "batch", CONTENTS))
    assert stored(server, ref) == {f"input/{name}": content for name, content in CONTENTS.items()}
    downloads: Payloads = platform.payloads
    for name, content in CONTENTS.items():
        pieces = [piece async for piece in downloads.download(ref.payload_id, f"input/{name}")]
        assert b"".join(pieces) == content
        assert all(len(piece) <= wire.CHUNK for piece in pieces)


async def test_what_is_there_in_its_size_is_not_sent_again(
    server: Server, platform: ClaraPlatform, ref: JobRef, tmp_path: Path
) -> None:
    files = written(tmp_path / "batch", CONTENTS)
    await platform.payloads.upload(ref.payload_id, files[:3])
    server.platform.file(ref.payload_id, "input/chunk").write_bytes(b"cut off")
    server.calls.clear()
    await platform.payloads.upload(ref.payload_id, files)
    assert server.calls["Payloads/Upload"] == 3  # the one that is not whole, and the two that are missing
    assert stored(server, ref) == {f"input/{name}": content for name, content in CONTENTS.items()}


async def test_an_upload_that_breaks_is_resumed(
    server: Server, platform: ClaraPlatform, ref: JobRef, tmp_path: Path
) -> None:
    files = written(tmp_path / "batch", {str(number): bytes(3 * wire.CHUNK) for number in range(4)})
    server.faults.cut_uploads, server.faults.cut_after = 1, wire.CHUNK + 1
    with pytest.raises(TemporaryError, match=server.endpoint):
        await platform.payloads.upload(ref.payload_id, files)
    assert wire.CHUNK + 1 in {len(content) for content in stored(server, ref).values()}
    await platform.payloads.upload(ref.payload_id, files)
    assert {name: len(content) for name, content in stored(server, ref).items()} == {
        f"input/{number}": 3 * wire.CHUNK for number in range(4)
    }


async def test_so_many_files_at_once(
    server: Server, ref: JobRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over all jobs together."""
    at_once, most = 0, 0
    lock = threading.Lock()
    upload = server.upload

    def counted(*arguments: Any) -> Any:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        answer = upload(*arguments)
        with lock:
            at_once -= 1
        return answer

    monkeypatch.setattr(server, "upload", counted)
    files = written(tmp_path / "batch", {str(number): bytes(wire.CHUNK) for number in range(12)})
    async with connected(server.endpoint, parallel_uploads=3) as platform:
        await platform.payloads.upload(ref.payload_id, files)
    assert most == 3


async def test_a_file_that_is_gone(platform: ClaraPlatform, ref: JobRef, tmp_path: Path) -> None:
    files = written(tmp_path / "batch", CONTENTS)
    Path(files[2].path).unlink()
    with pytest.raises(PermanentError, match="is gone from the spool"):
        await platform.payloads.upload(ref.payload_id, files)


async def test_a_payload_that_takes_no_more(
    server: Server, platform: ClaraPlatform, ref: JobRef, tmp_path: Path
) -> None:
    """The platform answers before it has read the file. Its words may be lost then: gRPC fails the write first."""
    server.platform.start(ref.job_id)
    files = written(tmp_path / "batch", {"large": bytes(16 * wire.CHUNK)})
    with pytest.raises(TemporaryError, match=r"(read-only: its job was started|broke Payloads/Upload off)"):
        await platform.payloads.upload(ref.payload_id, files)


async def test_downloads_that_cannot_be(platform: ClaraPlatform, ref: JobRef) -> None:
    with pytest.raises(PermanentError, match=f"payload {UNKNOWN} not found"):
        _ = [piece async for piece in platform.payloads.download(UNKNOWN, "input/a")]
    with pytest.raises(TemporaryError, match="has no file input/a"):
        _ = [piece async for piece in platform.payloads.download(ref.payload_id, "/input/a")]
