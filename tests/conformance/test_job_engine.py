"""What every JobEngine owes its callers (`core.ports`), above all across a `kill -9` of who started the job."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from dicom_adapter.core.errors import PermanentError
from dicom_adapter.core.model import EngineState, JobRef, JobSpec, JobStatus, PayloadFile
from dicom_adapter.core.ports import JobEngine
from tests.conformance.job_engines import ENGINES, EngineUnderTest, stopped
from tests.waiting import is_alive, until


class House:
    """An engine over a folder; `restarted` is that of the adapter's next life."""

    def __init__(
        self, under_test: EngineUnderTest, root: Path, output: Callable[[JobRef], Path], lives: AsyncExitStack
    ) -> None:
        self.under_test = under_test
        self.root = root
        self.output = output
        self._lives = lives
        self.engine: JobEngine

    async def restarted(self) -> JobEngine:
        return await self._lives.enter_async_context(self.under_test.make(self.root))

    def spec(self, pipeline: str, attempt: int = 1) -> JobSpec:
        pipeline_id = self.under_test.pipeline_id(pipeline)
        return JobSpec(f"id-{pipeline}", f"aet-{pipeline}-b1", attempt, pipeline_id, {"job": pipeline, "series": []})

    async def started(self, pipeline: str, files: list[PayloadFile]) -> JobRef:
        ref = await self.engine.create_job(self.spec(pipeline))
        await self.engine.upload(ref, files)
        await self.engine.start_job(ref)
        return ref

    async def written(self, ref: JobRef, name: str) -> str:
        """The content of a file in the job's output folder, once it is there and not empty."""
        path = self.output(ref) / name
        return await until(lambda: path.read_text() if path.exists() else "")

    def results(self, ref: JobRef) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(self.output(ref).iterdir())}


@pytest.fixture(params=ENGINES, ids=lambda engine: engine.name)
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    under_test: EngineUnderTest = request.param
    with under_test.serve(tmp_path) as output:
        async with AsyncExitStack() as lives:
            house = House(under_test, tmp_path, output, lives)
            house.engine = await house.restarted()
            yield house


@pytest.fixture
def files(tmp_path: Path) -> list[PayloadFile]:
    batch = tmp_path / "batch"
    batch.mkdir()
    for number in range(3):
        (batch / f"{number}").write_bytes(b"instance %d" % number)
    return [PayloadFile(str(batch / f"{number}"), f"{number:08d}.dcm") for number in range(3)]


async def test_a_job_runs(house: House, files: list[PayloadFile]) -> None:
    ref = await house.started("copy", files)
    status = await stopped(house.engine, ref)
    assert (status.state, status.healthy, status.reason) == (EngineState.STOPPED, True, None)
    assert status.started_at is not None
    assert status.stopped_at is not None
    assert house.results(ref) == {f"{number:08d}.dcm": b"instance %d" % number for number in range(3)}


async def test_create_is_idempotent_and_find_adopts(house: House) -> None:
    assert await house.engine.find_job(house.spec("copy")) is None
    ref = await house.engine.create_job(house.spec("copy"))
    assert await house.engine.create_job(house.spec("copy")) == ref
    assert await (await house.restarted()).find_job(house.spec("copy")) == ref
    assert await house.engine.find_job(house.spec("copy", attempt=2)) is None
    assert await house.engine.create_job(house.spec("copy", attempt=2)) != ref
    assert (await house.engine.get_status(ref)).state is EngineState.PENDING


async def test_upload_resumes(house: House, files: list[PayloadFile]) -> None:
    ref = await house.engine.create_job(house.spec("copy"))
    await house.engine.upload(ref, files[:2])
    second = await house.restarted()
    await second.upload(ref, files)
    await second.start_job(ref)
    assert (await stopped(second, ref)).healthy
    assert len(house.results(ref)) == 3


async def test_a_missing_file_is_a_permanent_error(house: House, tmp_path: Path) -> None:
    ref = await house.engine.create_job(house.spec("copy"))
    with pytest.raises(PermanentError, match="is gone from the spool"):
        await house.engine.upload(ref, [PayloadFile(str(tmp_path / "gone"), "00000000.dcm")])


async def test_an_unknown_pipeline_is_a_permanent_error(house: House) -> None:
    unknown = house.under_test.pipeline_id("no-such-pipeline")
    with pytest.raises(PermanentError, match=unknown):
        await house.engine.create_job(house.spec("no-such-pipeline"))


async def test_start_is_idempotent(house: House) -> None:
    ref = await house.engine.create_job(house.spec("count"))
    others = [await house.restarted() for _ in range(4)]
    await asyncio.gather(*(each.start_job(ref) for each in [house.engine, *others]), return_exceptions=True)
    assert (await stopped(house.engine, ref)).healthy
    await house.engine.start_job(ref)
    assert (await stopped(house.engine, ref)).healthy
    assert house.results(ref) == {"runs": b"run\n"}


async def test_a_failed_job_says_why(house: House) -> None:
    ref = await house.started("fail", [])
    status = await stopped(house.engine, ref)
    assert (status.state, status.healthy) == (EngineState.STOPPED, False)
    assert "exit status 3" in str(status.reason)


async def test_cancel_ends_the_job_and_says_why(house: House) -> None:
    ref = await house.started("long", [])
    pid = int(await house.written(ref, "pid"))
    await house.engine.cancel_job(ref, "canceled by a person")
    await until(lambda: not is_alive(pid))
    status = await house.engine.get_status(ref)
    assert (status.state, status.healthy) == (EngineState.STOPPED, False)
    assert str(status.reason).endswith("canceled by a person")
    await house.engine.cancel_job(ref, "again")
    assert await house.engine.get_status(ref) == status


async def test_a_job_canceled_before_its_start_never_runs(house: House) -> None:
    ref = await house.engine.create_job(house.spec("count"))
    await house.engine.cancel_job(ref, "canceled by a person")
    await house.engine.start_job(ref)
    status = await stopped(house.engine, ref)
    assert (status.state, status.healthy) == (EngineState.STOPPED, False)
    assert str(status.reason).endswith("canceled by a person")
    assert house.results(ref) == {}


async def test_remove_leaves_the_batch_alone(house: House, files: list[PayloadFile]) -> None:
    ref = await house.started("copy", files)
    await stopped(house.engine, ref)
    await house.engine.remove_job(ref)
    await house.engine.remove_job(ref)
    assert await house.engine.find_job(house.spec("copy")) is None
    assert all(Path(file.path).exists() for file in files)


ADAPTER = """
import asyncio, json, sys
from pathlib import Path
from tests.conformance.job_engines import ENGINES
from dicom_adapter.core.model import JobSpec

async def main(name, root, pipeline):
    under_test = next(e for e in ENGINES if e.name == name)
    spec = JobSpec("id-" + pipeline, "aet-" + pipeline + "-b1", 1, under_test.pipeline_id(pipeline), {})
    async with under_test.make(Path(root)) as engine:
        ref = await engine.create_job(spec)
        await engine.start_job(ref)
        print(json.dumps([ref.job_id, ref.payload_id]), flush=True)
        await asyncio.sleep(600)

asyncio.run(main(*sys.argv[1:]))
"""


def started_by_an_adapter_that_dies(house: House, pipeline: str) -> JobRef:
    with subprocess.Popen(
        [sys.executable, "-c", ADAPTER, house.under_test.name, str(house.root), pipeline],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as adapter:
        assert adapter.stdout is not None
        ref = JobRef(*json.loads(adapter.stdout.readline()))
        adapter.kill()
    return ref


async def test_a_running_job_is_adopted_after_a_crash(house: House) -> None:
    ref = await asyncio.to_thread(started_by_an_adapter_that_dies, house, "slow")
    pid = int(await house.written(ref, "pid"))
    assert (await house.engine.get_status(ref)).state is EngineState.RUNNING
    await house.engine.start_job(ref)  # what an adapter does that did not note that it had
    (house.output(ref).parent / "go").touch()
    status = await stopped(house.engine, ref)
    assert (status.state, status.healthy) == (EngineState.STOPPED, True)
    assert int(await house.written(ref, "pid")) == pid, "there was a second run"


async def test_an_adopted_job_can_be_canceled(house: House) -> None:
    ref = await asyncio.to_thread(started_by_an_adapter_that_dies, house, "long")
    pid = int(await house.written(ref, "pid"))
    await house.engine.cancel_job(ref, "enough")
    await until(lambda: not is_alive(pid))
    status: JobStatus = await house.engine.get_status(ref)
    assert str(status.reason).endswith("enough")
