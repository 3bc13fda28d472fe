"""The supervisor of one run of one command, a process of its own: `python -I -S process_runner.py RUN_FOLDER`.

It records the run, starts the command, keeps its output, holds it to its limits, ends everything that it started,
and writes how it went. Why a process: it outlives the adapter, so `kill -9` of the adapter neither stops a pipeline
nor loses its exit status. Standard library only, and this one file, so that it starts in a few milliseconds;
`local_process` imports from here what both must agree on.

A run's folder holds, in the order of their appearance (each written durably, so each is a fact):

    run.json      what to run and its limits; written by the engine
    run.lock      locked (flock) by the supervisor from before started.json until it ends
    started.json  the run has begun. There is never a second one: that is "a job is never started twice"
    cancel.json   somebody wants it ended, and why
    exit.json     how it went; nothing of the run is alive any more
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import re
import resource
import selectors
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

RUN, LOCK, STARTED, CANCEL, EXIT = "run.json", "run.lock", "started.json", "cancel.json", "exit.json"
STDOUT, STDERR, SUPERVISOR_LOG = "stdout.log", "stderr.log", "supervisor.log"
INPUT, OUTPUT, WORK, MANIFEST = "input", "output", "work", "job.json"
MARK = "DICOM_ADAPTER_RUN"
"""Environment variable that every process of a run inherits: tells our processes from others that reuse their ids."""

TAKEN, BEGUN, REFUSED = "taken", "begun", "refused"
"""The supervisor's one line to who started it; after REFUSED follows why the command could not be started."""

POLL = 0.2  # seconds between looks at cancel.json and the clock
MEMORY_POLL = 0.5  # seconds between measurements
LOW_SPACE = 1 << 20  # bytes: a run that fails with less on its disk is told so
MACHINE_IS_SHORT = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)  # of processes, memory, descriptors
PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)

Facts: TypeAlias = Mapping[str, Any]


# Python ignores the first two; a shell that starts the adapter with & has it ignore the others.
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT)


def write_durably(path: str, content: bytes) -> None:
    """The whole file under its name, or nothing: written, synced, renamed, its folder synced. Raises OSError."""
    temporary = f"{path}.part"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(fd)
    os.rename(temporary, path)
    sync_folder(os.path.dirname(path))


def sync_folder(path: str) -> None:
    """Make the names in a folder durable. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_facts(path: str, facts: Facts) -> None:
    write_durably(path, json.dumps(facts, indent=1).encode())


def read_facts(path: str) -> Facts | None:
    """The facts of a file written by `write_facts`, or None where there is none."""
    try:
        with open(path, "rb") as file:
            facts: Facts = json.load(file)
            return facts
    except FileNotFoundError:
        return None


def exit_facts(
    *,
    healthy: bool = False,
    interrupted: bool = False,
    reason: str | None = None,
    started_at: float | None = None,
    stopped_at: float,
) -> Facts:
    """The content of exit.json. `interrupted`: ended by no fault of the command's, so its own end is unknown."""
    return {
        "healthy": healthy,
        "interrupted": interrupted,
        "reason": reason,
        "started_at": started_at,
        "stopped_at": stopped_at,
    }


# --- processes (proc(5)) ---------------------------------------------------------------------------------------------


class Process(NamedTuple):
    """A process that cannot be mistaken for a later one with the same id, thanks to its start time."""

    pid: int
    start_time: int  # clock ticks since boot
    parent: int
    session: int


def process(pid: int) -> Process | None:
    """The process with this id, unless it has ended (a zombie has)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()  # the name before ")" may hold anything
    except (FileNotFoundError, ProcessLookupError):
        return None
    if fields[0] in (b"Z", b"X"):
        return None
    return Process(pid, int(fields[19]), int(fields[1]), int(fields[3]))


def processes() -> Iterator[Process]:
    for name in os.listdir("/proc"):
        if name.isdigit() and (found := process(int(name))):
            yield found


def descendants(pid: int) -> list[Process]:
    """What runs below a process. Complete for a child subreaper: an orphan becomes its child (prctl(2))."""
    children: dict[int, list[Process]] = {}
    for each in processes():
        children.setdefault(each.parent, []).append(each)
    found: list[Process] = []
    parents = [pid]
    while parents:
        below = children.pop(parents.pop(), [])
        found += below
        parents += (each.pid for each in below)
    return found


def survivors(folder: str, started: Facts) -> list[Process]:
    """What still runs of a run whose supervisor has died.

    A process is the run's when it inherited the run's mark, or is of its session and works in its folder.
    An id alone proves nothing, as ids are used again.
    """
    if started["boot_id"] != boot_id():
        return []
    return [each for each in processes() if _is_of_run(each, folder, started)]


def _is_of_run(candidate: Process, folder: str, started: Facts) -> bool:
    directory = f"/proc/{candidate.pid}"
    with contextlib.suppress(OSError), open(f"{directory}/environ", "rb") as file:  # or ended, or another user's
        if f"{MARK}={folder}".encode() in file.read().split(b"\0"):
            return True
    with contextlib.suppress(OSError):
        if candidate.session == started["pid"]:  # its environment may have been overwritten by a process title
            return f"{os.readlink(f'{directory}/cwd')}/".startswith(f"{folder}/")
    return False


def send_signal(targets: Iterable[Process], number: signal.Signals) -> None:
    """Signal these processes and no others, not even those that got their ids in the meantime."""
    for target in targets:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # gone; or another user's by now: sudo
            fd = os.pidfd_open(target.pid)
            try:
                now = process(target.pid)  # the descriptor holds the id: who has it now, keeps it
                if now and now.start_time == target.start_time:
                    signal.pidfd_send_signal(fd, number)
            finally:
                os.close(fd)


def memory(of: Iterable[Process]) -> int:
    """Resident bytes, memory shared among them counted several times."""
    total = 0
    for each in of:
        with contextlib.suppress(OSError), open(f"/proc/{each.pid}/statm", "rb") as file:
            total += int(file.read().split()[1]) * resource.getpagesize()
    return total


def proportional_memory(of: Iterable[Process]) -> int:
    """Resident bytes, shared memory shared out among those who share it. Exact and slow: `memory` first."""
    total = 0
    for each in of:
        with contextlib.suppress(OSError), open(f"/proc/{each.pid}/smaps_rollup", "rb") as file:
            total += sum(int(line.split()[1]) * 1024 for line in file if line.startswith(b"Pss:"))
    return total


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


# --- the supervisor --------------------------------------------------------------------------------------------------


class Log:
    """One output stream of the command: the first `limit` bytes are kept, the rest is read and dropped."""

    def __init__(self, path: str, limit: int) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        self._room = limit
        self._note = f"\n[the adapter keeps the first {limit} bytes; the rest was dropped]\n"
        self.source, self.sink = os.pipe()

    def pump(self) -> bool:
        """Take what is there to read; False at the end of the stream."""
        data = os.read(self.source, 1 << 16)
        if data and self._room:
            kept = data[: self._room]
            self._room -= len(kept)
            if len(kept) < len(data):
                kept += self._note.encode()
            try:
                _write_all(self._file, kept)
            except OSError as error:  # no space: a lost line of a log is no reason to fail a run
                self._room = 0
                _say(f"output dropped from here on: {error}")
        return bool(data)


def _say(words: str) -> None:
    """For the supervisor's own log, which is on the same disk: one that is full is no reason to end."""
    with contextlib.suppress(OSError):
        os.write(2, f"{words}\n".encode())


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


class Supervisor:
    """One run, from taking its lock to writing its end."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._run: Facts = read_facts(self._path(RUN)) or {}
        self._asked_to_end = False
        self._wait_status: int | None = None
        self._started_at = 0.0
        self._measure_at = 0.0

    def _path(self, *names: str) -> str:
        return os.path.join(self.folder, *names)

    def begin(self) -> str:
        """Take the run and start its command; TAKEN, BEGUN or REFUSED with the reason. Raises OSError."""
        self._lock = os.open(self._path(LOCK), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return TAKEN
        if any(os.path.exists(self._path(name)) for name in (STARTED, EXIT, CANCEL)):
            return TAKEN
        self._prepare_process()
        self._logs = [Log(self._path(name), self._run["log_limit"]) for name in (STDOUT, STDERR)]
        self._started_at = time.time()
        me = process(os.getpid())
        assert me is not None
        write_facts(
            self._path(STARTED),
            {"pid": me.pid, "start_time": me.start_time, "boot_id": boot_id(), "started_at": self._started_at},
        )
        try:
            self._command = self._spawn()
        except (OSError, ValueError) as error:
            reason = _why_not_started(self._run["command"][0], error)
            may_work_later = isinstance(error, OSError) and error.errno in MACHINE_IS_SHORT
            self._write_exit(
                exit_facts(
                    interrupted=may_work_later, reason=reason, started_at=self._started_at, stopped_at=time.time()
                )
            )
            return TAKEN if may_work_later else f"{REFUSED} {reason}"
        return BEGUN

    def _prepare_process(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:  # so that `descendants` misses none
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))  # patient data
        # Handlers, not SIG_IGN: the command would inherit that.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        signal.signal(signal.SIGHUP, lambda *_: None)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_asked_to_end)
        self._wake_up, wake_up = os.pipe()
        for fd in (self._wake_up, wake_up):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wake_up, warn_on_full_buffer=False)
        if cores := self._run["cpu"]:
            allowed = sorted(os.sched_getaffinity(0))
            first = os.getpid()  # spreads runs over the machine
            os.sched_setaffinity(0, {allowed[(first + n) % len(allowed)] for n in range(min(cores, len(allowed)))})

    def _on_asked_to_end(self, *_: object) -> None:
        self._asked_to_end = True

    def _spawn(self) -> int:
        paths = {"input": self._path(INPUT), "output": self._path(OUTPUT), "job": self._path(INPUT, MANIFEST)}
        command = [
            re.sub(r"\{(input|output|job)\}", lambda match: paths[match[1]], argument)
            for argument in self._run["command"]
        ]
        environment = dict(os.environ)
        if self._run["cpu"]:
            environment |= dict.fromkeys(THREAD_VARIABLES, str(self._run["cpu"]))
        environment |= self._run["environment"]
        environment |= {f"DICOM_ADAPTER_{name.upper()}": path for name, path in paths.items()}
        environment[MARK] = self.folder
        os.environ["PATH"] = environment.get("PATH", os.defpath)  # where posix_spawnp looks for the command
        os.chdir(self._path(WORK))
        stdout, stderr = self._logs
        pid = os.posix_spawnp(
            command[0],
            command,
            environment,
            file_actions=(
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, stdout.sink, 1),
                (os.POSIX_SPAWN_DUP2, stderr.sink, 2),
            ),
            setpgroup=0,
            setsigdef=_IGNORED,
        )
        for log in self._logs:
            os.close(log.sink)
        return pid

    def supervise(self) -> None:
        """Stay with the command until nothing of it is left, then write how it went."""
        run_until = time.monotonic() + self._run["timeout"] if self._run["timeout"] is not None else None
        ended_for: str | None = None
        kill_at = 0.0
        selector = selectors.DefaultSelector()
        selector.register(self._wake_up, selectors.EVENT_READ)
        for log in self._logs:
            selector.register(log.source, selectors.EVENT_READ, log)
        anything_left = True
        while anything_left:
            self._pump(selector)
            anything_left = self._reap()
            now = time.monotonic()
            if self._wait_status is not None and ended_for is None:
                kill_at = now  # it ended by itself: nothing that it started may outlive it
            elif self._wait_status is None and ended_for is None:
                ended_for = self._why_end(now, run_until)
                if ended_for is None:
                    continue
                send_signal(descendants(os.getpid()), signal.SIGTERM)
                kill_at = now + self._run["grace"]
            if now >= kill_at:
                send_signal(descendants(os.getpid()), signal.SIGKILL)
        while len(selector.get_map()) > 1:  # every writer is gone: what is left to read, then the ends of the streams
            self._pump(selector)
        self._write_exit(self._result(ended_for))

    def _pump(self, selector: selectors.BaseSelector) -> None:
        for key, _ in selector.select(POLL):
            if key.data is None:
                os.read(self._wake_up, 4096)
            elif not key.data.pump():
                selector.unregister(key.fileobj)

    def _reap(self) -> bool:
        """Take note of who has ended; False once nothing is left, as all that the command started is below us."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._command:
                self._wait_status = status

    def _why_end(self, now: float, run_until: float | None) -> str | None:
        if self._asked_to_end:
            return "interrupted: its supervisor was asked to end, as when the machine shuts down"
        if cancel := read_facts(self._path(CANCEL)):
            return str(cancel["reason"])
        if run_until is not None and now >= run_until:
            return f"it ran longer than {self._run['timeout']:g} s, its pipeline's timeout, and was ended"
        allowed = self._run["memory"]
        if allowed and now >= self._measure_at:
            self._measure_at = now + MEMORY_POLL
            members = descendants(os.getpid())
            if memory(members) > allowed and (used := proportional_memory(members)) > allowed:
                return f"it used {bytes_in_words(used)} of memory, allowed {bytes_in_words(allowed)}, and was ended"
        return None

    def _result(self, ended_for: str | None) -> Facts:
        assert self._wait_status is not None
        code = os.waitstatus_to_exitcode(self._wait_status)
        reason = ended_for
        if ended_for is None and code != 0:
            reason = exit_in_words(code) + disk_in_words(self.folder)
        return exit_facts(
            healthy=reason is None,
            interrupted=self._asked_to_end and ended_for is not None,
            reason=reason,
            started_at=self._started_at,
            stopped_at=time.time(),
        )

    def _write_exit(self, facts: Facts) -> None:
        while True:  # with the disk full, until it is not: without this file the run would count as interrupted
            try:
                write_facts(self._path(EXIT), facts)
                return
            except FileNotFoundError:  # the job was removed: nobody wants to know
                return
            except OSError as error:
                _say(f"cannot write {EXIT}, trying again: {error}")
                time.sleep(1)


def _why_not_started(command: str, error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"command {command!r}: not found, or the interpreter that its first line names is not"
    if isinstance(error, PermissionError):
        return f"command {command!r}: not executable by the adapter's user"
    return f"command {command!r}: cannot be started: {error.strerror if isinstance(error, OSError) else error}"


def exit_in_words(code: int) -> str:
    """Of a failed command; a negative code is a signal."""
    if code >= 0:
        return f"the command failed: exit status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # real-time signals have no names
        name = "no name"
    hint = "; the kernel does this when the machine's memory runs out" if -code == signal.SIGKILL else ""
    return f"the command was ended by signal {-code} ({name}){hint}"


def disk_in_words(folder: str) -> str:
    """What to add to a failure's reason when the disk may be the cause, else ""."""
    disk = os.statvfs(folder)
    return "; the disk of the storage folder is full" if disk.f_bavail * disk.f_frsize < LOW_SPACE else ""


def bytes_in_words(count: int) -> str:
    """3328599654 -> '3.1 GiB'."""
    size, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.1f}".removesuffix(".0") + f" {unit}"


def main(folder: str) -> None:
    supervisor = Supervisor(folder)
    answer = supervisor.begin()
    with contextlib.suppress(BrokenPipeError):  # the adapter was killed while it waited for this: the run goes on
        os.write(1, f"{answer}\n".encode())
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)  # the reader's end of the stream
    if answer == BEGUN:
        supervisor.supervise()


if __name__ == "__main__":
    main(sys.argv[1])
