"""The process engine beyond what every engine owes: its folders, limits, environment, and whom it ends.

What the runs do is said in Python, as a pipeline's command; `make` builds an engine around one pipeline.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from dicom_adapter.core.errors import PermanentError, TemporaryError
from dicom_adapter.core.model import EngineState, JobRef, JobSpec, JobStatus, PayloadFile
from dicom_adapter.core.snapshot import Pipeline
from dicom_adapter.engines import local_process
from dicom_adapter.engines import process_runner as runner
from dicom_adapter.engines.local_process import LocalProcessEngine
from tests.waiting import eventually

T = TypeVar("T")
SPEC = JobSpec("job", "aet-pipeline-batch", 1, "p", {"job": "job", "series": []})
REF = JobRef("job/1", "job/1")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., LocalProcessEngine]:
    def made(program: str = "", **limits: Any) -> LocalProcessEngine:
        command = limits.pop("command", (sys.executable, "-I", "-c", f"import os, sys, time\n{program}", "{output}"))
        grace = limits.pop("grace", 1.0)
        pipeline = Pipeline("p", "pipeline", command=command, **limits)
        return LocalProcessEngine(tmp_path / "jobs", {"p": pipeline}.get, grace=grace)

    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the run."""
    return tmp_path / "jobs" / "job" / "1"


def start(engine: LocalProcessEngine) -> None:
    run(engine.create_job(SPEC))
    run(engine.start_job(REF))


def stopped(engine: LocalProcessEngine) -> JobStatus:
    def status() -> JobStatus | None:
        found = run(engine.get_status(REF))
        return found if found.state in (EngineState.STOPPED, EngineState.UNKNOWN) else None

    found = eventually(status)
    assert found is not None
    return found


def stdout(engine: LocalProcessEngine) -> str:
    return engine.log_files(REF)["stdout"].read_text()


def number_from(path: Path) -> int:
    return int(eventually(lambda: path.read_text() if path.exists() else ""))


def is_alive(pid: int) -> bool:
    return runner.process(pid) is not None


# --- folders ---


def test_the_payload_is_hard_links_beside_the_manifest(
    make: Callable[..., LocalProcessEngine], folder: Path, tmp_path: Path
) -> None:
    engine = make()
    source = tmp_path / "1.dcm"
    source.write_bytes(b"slice")
    run(engine.create_job(SPEC))
    run(engine.upload(REF, [PayloadFile(str(source), "00000001.dcm")]))
    assert (folder / "input" / "00000001.dcm").samefile(source)
    assert json.loads((folder / "input" / "job.json").read_text()) == {"job": "job", "series": []}
    assert folder.stat().st_mode & 0o077 == 0, "patient data is for the adapter's user alone"


def test_where_links_are_impossible_the_payload_is_copies(
    make: Callable[..., LocalProcessEngine], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_keywords: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    engine = make()
    source = tmp_path / "1.dcm"
    source.write_bytes(b"slice")
    run(engine.create_job(SPEC))
    monkeypatch.setattr(os, "link", refuse)
    run(engine.upload(REF, [PayloadFile(str(source), "00000001.dcm")]))
    copy = folder / "input" / "00000001.dcm"
    assert copy.read_bytes() == b"slice"
    assert not copy.samefile(source)
    assert sorted(path.name for path in copy.parent.iterdir()) == ["00000001.dcm", "job.json"]


@pytest.mark.parametrize("name", ["../1.dcm", "a/b", ".hidden", "job.json", "", "n" * 200, "a\nb"])
def test_a_payload_name_that_could_leave_the_folder_is_refused(
    make: Callable[..., LocalProcessEngine], tmp_path: Path, name: str
) -> None:
    engine = make()
    (tmp_path / "1.dcm").touch()
    run(engine.create_job(SPEC))
    with pytest.raises(PermanentError, match="not allowed"):
        run(engine.upload(REF, [PayloadFile(str(tmp_path / "1.dcm"), name)]))


@pytest.mark.parametrize("job_id", ["../1", "job", "job/x", "job/1/2", "/1", ".job/1", "job/²"])
def test_a_reference_that_is_not_ours_is_refused(make: Callable[..., LocalProcessEngine], job_id: str) -> None:
    with pytest.raises(PermanentError, match="none of this engine's"):
        run(make().get_status(JobRef(job_id, job_id)))


def test_half_a_job_of_a_crash_is_made_again(make: Callable[..., LocalProcessEngine], folder: Path) -> None:
    half = folder.with_name("1.new")
    (half / "input").mkdir(parents=True)
    (half / "input" / "00000009.dcm").touch()
    engine = make()
    assert run(engine.find_job(SPEC)) is None
    run(engine.create_job(SPEC))
    assert [path.name for path in (folder / "input").iterdir()] == ["job.json"]
    assert not half.exists()


def test_no_room_is_a_temporary_error(make: Callable[..., LocalProcessEngine], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    engine = make()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TemporaryError, match="No space left on device"):
        run(engine.create_job(SPEC))
    monkeypatch.undo()
    assert run(engine.create_job(SPEC)) == REF


def test_only_regular_files_are_results(make: Callable[..., LocalProcessEngine], folder: Path) -> None:
    engine = make()
    run(engine.create_job(SPEC))
    output = folder / "output"
    (output / "deep" / "er").mkdir(parents=True)
    for name in ("b.dcm", "a.dcm", "deep/er/c.dcm"):
        (output / name).touch()
    os.symlink("/etc/passwd", output / "link.dcm")
    os.symlink("/etc", output / "linked-folder")
    os.mkfifo(output / "pipe")
    assert engine.result_files(REF) == [output / "a.dcm", output / "b.dcm", output / "deep" / "er" / "c.dcm"]
    assert engine.irregular_results(REF) == [output / "link.dcm", output / "linked-folder", output / "pipe"]


def test_results_that_cannot_be_read_are_not_taken_for_none(
    make: Callable[..., LocalProcessEngine], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make()
    run(engine.create_job(SPEC))
    (folder / "output" / "CANARY").mkdir()
    scandir = os.scandir

    def refuse(path: str) -> Any:  # as to an adapter that is not root, whose container wrote as root
        if str(path).endswith("CANARY"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    for look in (engine.result_files, engine.irregular_results):
        with pytest.raises(TemporaryError, match="cannot be read: Permission denied") as caught:
            look(REF)
        assert "CANARY" not in str(caught.value)


def test_an_output_folder_that_its_program_removed_has_no_results(
    make: Callable[..., LocalProcessEngine], folder: Path
) -> None:
    engine = make()
    run(engine.create_job(SPEC))
    (folder / "output").rmdir()
    assert engine.result_files(REF) == engine.irregular_results(REF) == []


def test_a_running_job_is_not_removed(make: Callable[..., LocalProcessEngine], folder: Path) -> None:
    engine = make("time.sleep(60)")
    start(engine)
    with pytest.raises(TemporaryError, match="still runs"):
        run(engine.remove_job(REF))
    assert folder.exists()
    run(engine.cancel_job(REF, "over"))
    run(engine.remove_job(REF))
    assert not folder.parent.exists()


# --- what a command sees ---


def test_placeholders_environment_and_working_folder(
    make: Callable[..., LocalProcessEngine], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLARA_SECRET", "not for pipelines")
    program = """
import json
print(json.dumps({'arguments': sys.argv[1:], 'environment': dict(os.environ), 'folder': os.getcwd(),
                  'descriptors': sorted(os.listdir('/proc/self/fd')), 'stdin': sys.stdin.read()}))"""
    arguments = ("--in={input}", "{output}/x", "{job}", "{other}", "$HOME; echo {input}{output}")
    engine = make(
        command=(sys.executable, "-I", "-c", f"import os, sys\n{program}", *arguments),
        environment={"MODEL": "/models/bone", "LANG": "C.UTF-8"},
    )
    inherited = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        start(engine)
    finally:
        os.close(inherited)
    assert stopped(engine).healthy
    seen = json.loads(stdout(engine))
    assert seen["arguments"] == [
        f"--in={folder}/input",
        f"{folder}/output/x",
        f"{folder}/input/job.json",
        "{other}",
        f"$HOME; echo {folder}/input{folder}/output",
    ]
    assert seen["folder"] == f"{folder}/work"
    assert seen["stdin"] == ""
    assert seen["descriptors"] == ["0", "1", "2", "3"]  # 3 is the one that lists them
    environment = seen["environment"]
    assert environment["MODEL"] == "/models/bone"
    assert environment["LANG"] == "C.UTF-8"
    assert environment["DICOM_ADAPTER_INPUT"] == f"{folder}/input"
    assert environment["DICOM_ADAPTER_OUTPUT"] == f"{folder}/output"
    assert environment["DICOM_ADAPTER_JOB"] == f"{folder}/input/job.json"
    assert environment["PATH"] == os.environ["PATH"]
    assert "CLARA_SECRET" not in environment


def test_signals_have_their_default_meaning(make: Callable[..., LocalProcessEngine]) -> None:
    engine = make(command=("cat", "/proc/self/status"))
    start(engine)
    assert stopped(engine).healthy
    masks = dict(line.split(":\t") for line in stdout(engine).splitlines() if line.startswith(("SigBlk", "SigIgn")))
    assert int(masks["SigBlk"], 16) == 0
    assert int(masks["SigIgn"], 16) & (1 << 31) - 1 == 0  # beyond 31 are those that the C library keeps for itself


def test_a_command_is_looked_up_in_the_pipelines_path(make: Callable[..., LocalProcessEngine], tmp_path: Path) -> None:
    tool = tmp_path / "bin" / "segment-everything"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho found\n")
    tool.chmod(0o755)
    engine = make(command=("segment-everything",), environment={"PATH": str(tool.parent)})
    start(engine)
    assert stopped(engine).healthy
    assert stdout(engine) == "found\n"


def test_a_file_that_may_not_be_executed_is_named(make: Callable[..., LocalProcessEngine], tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    with pytest.raises(PermanentError, match=r"tool': not executable"):
        start(make(command=(str(tmp_path / "tool"),)))


@pytest.mark.parametrize(("command", "reason"), [((), "has no command"), (("true", "a\0b"), "embedded null byte")])
def test_a_command_that_cannot_be_is_a_permanent_error(
    make: Callable[..., LocalProcessEngine], command: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(PermanentError, match=reason):
        start(make(command=command))


# --- limits ---


def test_a_log_keeps_its_first_bytes(make: Callable[..., LocalProcessEngine], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_process, "LOG_LIMIT", 1000)
    engine = make("for _ in range(1000): print('x' * 999)\nsys.stderr.write('short')")
    start(engine)
    assert stopped(engine).healthy
    text = stdout(engine)
    assert text.startswith("x" * 999 + "\n\n[the adapter keeps the first 1000 bytes")
    assert len(text) < 1100
    assert engine.log_files(REF)["stderr"].read_text() == "short"


def test_too_much_memory_ends_the_run_and_says_how_much(make: Callable[..., LocalProcessEngine]) -> None:
    engine = make("filled = bytearray(os.urandom(1)) * (200 << 20)\ntime.sleep(60)", memory=64 << 20)
    start(engine)
    status = stopped(engine)
    assert (status.state, status.healthy) == (EngineState.STOPPED, False)
    assert status.reason is not None
    used = float(status.reason.removeprefix("it used ").partition(" MiB")[0])
    assert 64 < used < 300
    assert "allowed 64 MiB" in status.reason


def test_memory_that_children_share_counts_once(make: Callable[..., LocalProcessEngine]) -> None:
    engine = make(
        """
filled = bytearray(os.urandom(1)) * (60 << 20)
for _ in range(3): os.fork()  # 8 processes over the same 60 MiB
time.sleep(1.5)
""",
        memory=128 << 20,
    )
    start(engine)
    assert stopped(engine) == JobStatus(
        EngineState.STOPPED, True, None, stopped(engine).started_at, stopped(engine).stopped_at
    )


def test_cores_are_limited_and_announced(make: Callable[..., LocalProcessEngine]) -> None:
    engine = make("print(len(os.sched_getaffinity(0)), os.environ['OMP_NUM_THREADS'])", cpu=1)
    start(engine)
    assert stopped(engine).healthy
    assert stdout(engine) == "1 1\n"


def test_a_command_that_ignores_sigterm_is_killed(make: Callable[..., LocalProcessEngine], folder: Path) -> None:
    engine = make(
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "open(sys.argv[1] + '/pid', 'w').write(str(os.getpid()))\ntime.sleep(60)",
        grace=0.2,
    )
    start(engine)
    pid = number_from(folder / "output" / "pid")
    run(engine.cancel_job(REF, "over"))
    assert not is_alive(pid)
    assert stopped(engine).reason == "over"


def test_a_command_may_use_its_grace_to_clean_up(make: Callable[..., LocalProcessEngine], folder: Path) -> None:
    engine = make(
        """
import signal
def clean_up(*_):
    open(sys.argv[1] + '/clean', 'w').write('yes')
    sys.exit(0)
signal.signal(signal.SIGTERM, clean_up)
open(sys.argv[1] + '/pid', 'w').write('1')
time.sleep(60)""",
        grace=20.0,
    )
    start(engine)
    number_from(folder / "output" / "pid")
    run(engine.cancel_job(REF, "over"))
    assert (folder / "output" / "clean").read_text() == "yes"
    assert stopped(engine).reason == "over"
    assert not stopped(engine).healthy


# --- ends ---


DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 3)
        open(sys.argv[1] + '/pid', 'w').write(str(os.getpid()))
        time.sleep(60)
    os._exit(0)
while not os.path.exists(sys.argv[1] + '/pid') or not open(sys.argv[1] + '/pid').read(): time.sleep(.01)
"""


def test_nothing_that_a_command_left_behind_outlives_it(make: Callable[..., LocalProcessEngine], folder: Path) -> None:
    engine = make(DAEMON)
    start(engine)
    assert stopped(engine).healthy
    assert not is_alive(number_from(folder / "output" / "pid"))


def test_a_daemon_is_ended_with_its_run(make: Callable[..., LocalProcessEngine], folder: Path) -> None:
    engine = make(DAEMON + "time.sleep(60)")
    start(engine)
    pid = number_from(folder / "output" / "pid")
    assert is_alive(pid)
    run(engine.cancel_job(REF, "over"))
    assert not is_alive(pid)


def test_a_daemon_is_ended_though_the_supervisor_was_killed(
    make: Callable[..., LocalProcessEngine], folder: Path
) -> None:
    engine = make(DAEMON + "time.sleep(60)")
    start(engine)
    pid = number_from(folder / "output" / "pid")
    os.kill(json.loads((folder / runner.STARTED).read_text())["pid"], signal.SIGKILL)
    assert stopped(engine).state is EngineState.UNKNOWN
    assert not is_alive(pid)


def test_a_signal_is_told_in_words(make: Callable[..., LocalProcessEngine]) -> None:
    engine = make("os.kill(os.getpid(), 9)")
    start(engine)
    assert str(stopped(engine).reason).startswith("the command was ended by signal 9 (SIGKILL); the kernel does this")


def test_a_supervisor_that_is_asked_to_end_says_interrupted(
    make: Callable[..., LocalProcessEngine], folder: Path
) -> None:
    engine = make("open(sys.argv[1] + '/pid', 'w').write(str(os.getpid()))\ntime.sleep(60)")
    start(engine)
    pid = number_from(folder / "output" / "pid")
    supervisor = json.loads((folder / runner.STARTED).read_text())["pid"]
    os.kill(supervisor, signal.SIGHUP)  # a closed terminal is no reason to end
    os.kill(supervisor, signal.SIGTERM)
    status = stopped(engine)
    assert status.state is EngineState.UNKNOWN
    assert "asked to end" in str(status.reason)
    assert not is_alive(pid)


def test_a_disk_that_is_full_when_a_run_ends_costs_no_result(
    make: Callable[..., LocalProcessEngine], folder: Path, tmp_path: Path
) -> None:
    """How it went is written when there is space again: until then the run counts as running."""
    go = tmp_path / "go"
    engine = make(f"while not os.path.exists({str(go)!r}): time.sleep(0.01)\nprint('done', flush=True)")
    start(engine)
    supervisor = json.loads((folder / runner.STARTED).read_text())["pid"]
    _, most = resource.prlimit(supervisor, resource.RLIMIT_FSIZE)
    resource.prlimit(supervisor, resource.RLIMIT_FSIZE, (0, most))  # no file of it grows: nor does its own log
    go.touch()
    eventually((folder / f"{runner.EXIT}.part").exists)
    assert run(engine.get_status(REF)).state is EngineState.RUNNING
    resource.prlimit(supervisor, resource.RLIMIT_FSIZE, (most, most))
    status = stopped(engine)
    assert (status.state, status.healthy, status.reason) == (EngineState.STOPPED, True, None)


def test_a_crash_between_the_record_and_the_command_is_no_second_start(
    make: Callable[..., LocalProcessEngine], folder: Path
) -> None:
    engine = make("open(sys.argv[1] + '/ran', 'w')")
    run(engine.create_job(SPEC))
    gone = {"pid": 1 << 22, "start_time": 1, "boot_id": runner.boot_id(), "started_at": 5.0}
    runner.write_facts(str(folder / runner.STARTED), gone)
    run(engine.start_job(REF))
    status = run(engine.get_status(REF))
    assert (status.state, status.started_at) == (EngineState.UNKNOWN, 5.0)
    assert engine.result_files(REF) == []


def test_after_a_reboot_nobody_is_looked_for(make: Callable[..., LocalProcessEngine], folder: Path) -> None:
    engine = make()
    run(engine.create_job(SPEC))
    with subprocess.Popen(["sleep", "60"], env={runner.MARK: str(folder)}) as other:
        before = {"pid": other.pid, "start_time": 1, "boot_id": "another", "started_at": 5.0}
        runner.write_facts(str(folder / runner.STARTED), before)
        assert run(engine.get_status(REF)).state is EngineState.UNKNOWN
        assert other.poll() is None
        other.kill()


def test_a_process_that_reuses_an_id_is_left_alone(make: Callable[..., LocalProcessEngine], folder: Path) -> None:
    engine = make()
    run(engine.create_job(SPEC))
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as other:
        reused = {"pid": other.pid, "start_time": 1, "boot_id": runner.boot_id(), "started_at": 5.0}
        runner.write_facts(str(folder / runner.STARTED), reused)
        assert run(engine.get_status(REF)).state is EngineState.UNKNOWN
        assert other.poll() is None
        assert runner.survivors(str(folder), reused) == []
        found = runner.process(other.pid)
        assert found is not None
        runner.send_signal([found._replace(start_time=1)], signal.SIGKILL)
        assert other.poll() is None
        runner.send_signal([found], signal.SIGKILL)
        assert other.wait() == -signal.SIGKILL
