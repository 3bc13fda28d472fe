"""The rows of the bench: what is measured, beside whom, and the target for each."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from . import memory, receivers, wire
from .measure import Case, Medians, Row, Session, Target, at_most, speed_over, throughput_over
from .receivers import AE_TITLE, BenchError, Receiver, Running, running
from .samples import SeriesFolder, ct_slice

_SEND_TIMEOUT = 300.0  # seconds

NONE, INSTANCE = receivers.adapter("none"), receivers.adapter("instance")
SINK, SYNCING_SINK, FDATASYNC_SINK = receivers.sink("none"), receivers.sink("full"), receivers.sink("data")
STORESCP, PYNETDICOM = receivers.storescp(), receivers.pynetdicom()
ORTHANC, SYNCING_ORTHANC = receivers.orthanc(sync=False), receivers.orthanc(sync=True)


@dataclass(frozen=True)
class Size:
    """How much is sent."""

    slices: int = 400
    mr_slices: int = 1000
    giant: int = 2 << 30  # bytes
    idle: int = 200  # associations
    instances: tuple[int, int] = (1_000, 10_000)

    @classmethod
    def quick(cls) -> Size:
        return cls(slices=60, mr_slices=200, giant=256 << 20, idle=50, instances=(200, 2_000))


def rows(size: Size) -> list[Row]:
    """Every row, in the order of the report."""
    return [
        _files("dcmsend", size),
        _files("storescu", size),
        Row(
            "ct-1",
            "Pre-encoded sender, CT, 1 association",
            "MB/s",
            f"{size.slices} CT slices of 512 KiB in one association; nobody syncs.",
            _stores(size.slices, "ct", 1, [NONE, SINK, STORESCP, PYNETDICOM]),
            [_over(NONE, STORESCP, 2.5), _over(NONE, PYNETDICOM, 5), _over(NONE, SINK, 0.8)],
            SINK.name,
        ),
        Row(
            "ct-4",
            "Pre-encoded sender, CT, 4 associations",
            "MB/s",
            f"{size.slices} CT slices of 512 KiB, divided among four associations at once; nobody syncs.",
            _stores(size.slices, "ct", 4, [NONE, SINK, STORESCP, PYNETDICOM, ORTHANC]),
            [_over(NONE, STORESCP, 1.7), _over(NONE, PYNETDICOM, 7), _over(NONE, ORTHANC, 5), _over(NONE, SINK, 0.8)],
            SINK.name,
        ),
        Row(
            "mr-1",
            "Pre-encoded sender, MR, 1 association",
            "MB/s",
            f"{size.mr_slices} MR slices of 32 KiB in one association; nobody syncs.",
            _stores(size.mr_slices, "mr", 1, [NONE, SINK, STORESCP, PYNETDICOM]),
            [_over(NONE, STORESCP, 0.8), _over(NONE, PYNETDICOM, 7)],
            SINK.name,
        ),
        *(_durable(size, associations) for associations in (1, 4)),
        _scu(size),
        _memory(size),
        _job_start(size),
    ]


def _over(ours: Receiver, peer: Receiver, factor: float) -> Target:
    return throughput_over(ours.name, peer.name, factor)


# --- pre-encoded sender ---------------------------------------------------------------------------------------------


def _stores(count: int, sample: str, associations: int, beside: Sequence[Receiver]) -> Sequence[Case]:
    return [Case(it.name, _store(it, sample, count, associations), it.absent) for it in beside]


def _store(receiver: Receiver, sample: str, count: int, associations: int) -> Callable[[Session], float]:
    def measure(session: Session) -> float:
        with running(receiver, session.new_folder("receiver")) as receiving:
            pre_encoded(session, receiving, "small", 4, associations)  # whatever a first association costs is not timed
            report = pre_encoded(session, receiving, sample, count, associations)
        return report["bytes"] / report["seconds"] / 1e6

    return measure


def pre_encoded(session: Session, receiving: Running, sample: str, count: int, associations: int) -> dict[str, float]:
    """Run the pre-encoded sender; its report."""
    run = session.next_run()
    numbers = ["--instances", str(count), "--associations", str(associations), "--run", str(run)]
    command = [sys.executable, "-m", "bench.sender", str(receiving.port), AE_TITLE, "--sample", sample, *numbers]
    report: dict[str, float] = json.loads(_run(command))
    return report


def _durable(size: Size, associations: int) -> Row:
    return Row(
        f"durable-{associations}",
        f"Durability instance, {associations} association{'s' * (associations > 1)}",
        "MB/s",
        f"{size.slices} CT slices of 512 KiB by the pre-encoded sender; each is synced before its response. The bare"
        " sink does what the adapter promises: fsync of the file, rename, fsync of the folder; fdatasync only is what"
        " a promise without the file's name would cost.",
        _stores(size.slices, "ct", associations, [INSTANCE, SYNCING_SINK, FDATASYNC_SINK, SYNCING_ORTHANC]),
        [_over(INSTANCE, SYNCING_ORTHANC, 2.5), _over(INSTANCE, SYNCING_SINK, 0.8)],
        SYNCING_SINK.name,
    )


# --- DCMTK's senders ------------------------------------------------------------------------------------------------


def _files(program: str, size: Size) -> Row:
    beside = [NONE, INSTANCE, STORESCP, ORTHANC, PYNETDICOM, SINK]
    absent = shutil.which(program) is None
    return Row(
        program,
        f"DCMTK {program}",
        "s",
        f"Wall time of `{program}` with its defaults for {size.slices} CT slices of 512 KiB in one association."
        " DCMTK writes each PDU in several small segments with Nagle's algorithm on: a receiver that delays its"
        " acknowledgements (TCP_QUICKACK off) costs it 40 ms an image.",
        [Case(it.name, _send_files(program, it, size), absent or it.absent) for it in beside],
        [
            speed_over(NONE.name, STORESCP.name, 20),
            speed_over(NONE.name, ORTHANC.name, 20),
            speed_over(NONE.name, PYNETDICOM.name, 4),
        ],
        SINK.name,
    )


def _send_files(program: str, receiver: Receiver, size: Size) -> Callable[[Session], float]:
    def measure(session: Session) -> float:
        files = series(session, size.slices)
        with running(receiver, session.new_folder("receiver")) as receiving:
            pre_encoded(session, receiving, "small", 4, 1)
            command = [program, "-aec", AE_TITLE, "127.0.0.1", str(receiving.port), *files]
            started = time.perf_counter()
            _run(command)
            return time.perf_counter() - started

    return measure


def series(session: Session, count: int) -> Sequence[str]:
    """Files of a CT series with new UIDs. Written once a session; then only its UIDs are."""
    folder = session.folder / f"series-{count}"
    found = SeriesFolder(folder, ct_slice(), count)
    found.renew(session.next_run())
    return [str(path) for path in found.files]


# --- senders to the bare sink ---------------------------------------------------------------------------------------


def _scu(size: Size) -> Row:
    scus: dict[str, Callable[[int, Sequence[str]], Sequence[str]]] = {
        "adapter SCU": lambda port, files: [sys.executable, "-m", "bench.our_scu", str(port), *files],
        "DCMTK dcmsend": lambda port, files: ["dcmsend", "-aec", AE_TITLE, "127.0.0.1", str(port), *files],
        "pynetdicom SCU": lambda port, files: [
            *(sys.executable, "-m", "bench.pynetdicom_peer", "scu", str(port)),
            *files,
        ],
    }
    ours, dcmsend, pynetdicom = scus
    no_dcmsend = shutil.which("dcmsend") is None
    return Row(
        "scu",
        "SCU, to the bare sink",
        "s",
        f"{size.slices} CT slices of 512 KiB from files, in one association. Timed by the sink, from the connection"
        " to A-RELEASE-RP, so that no start of a program counts.",
        [Case(name, _send_to_sink(command, size), name == dcmsend and no_dcmsend) for name, command in scus.items()],
        [speed_over(ours, pynetdicom, 5), speed_over(ours, dcmsend, 1)],
    )


def _send_to_sink(command: Callable[[int, Sequence[str]], Sequence[str]], size: Size) -> Callable[[Session], float]:
    def measure(session: Session) -> float:
        files = series(session, size.slices)
        with running(SINK, session.new_folder("sink")) as receiving:
            _run(command(receiving.port, files))
            seconds = [report["seconds"] for report in _reports(receiving) if report["instances"] == len(files)]
        if len(seconds) != 1:
            raise BenchError("the files did not arrive in one association")
        return seconds[0]

    return measure


def _reports(receiving: Running) -> Iterator[dict[str, float]]:
    deadline = time.monotonic() + 5.0
    while not receiving.log.stat().st_size and time.monotonic() < deadline:
        time.sleep(0.01)  # the sink reports after A-RELEASE-RP, which is when the sender ends
    for line in receiving.log.read_text().splitlines():
        yield json.loads(line)


# --- memory ---------------------------------------------------------------------------------------------------------


def _memory(size: Size) -> Row:
    giant = f"an instance of {size.giant >> 20} MiB"
    idle = "an idle association"

    def measure_giant(session: Session) -> float:
        with running(INSTANCE, session.new_folder("receiver")) as receiving:
            pre_encoded(session, receiving, "small", 4, 1)
            receiving.reset_peak()
            before = receiving.status("VmHWM")
            memory.send_giant(receiving.port, session.next_run(), size.giant)
            return (receiving.status("VmHWM") - before) / 1024

    def measure_idle(session: Session) -> float:
        with running(receivers.adapter("instance", max_associations=1000), session.new_folder("receiver")) as receiving:
            pre_encoded(session, receiving, "small", 4, 1)
            before = receiving.status("VmRSS")
            with ExitStack() as open_associations:
                for _ in range(size.idle):
                    sock = memory.store_one_and_stay(receiving.port, session.next_run())
                    open_associations.callback(wire.release, sock)
                return (receiving.status("VmRSS") - before) / 1024 / size.idle

    return Row(
        "memory",
        "Memory",
        "MiB",
        f"Growth of the adapter's resident memory: its peak (VmHWM) over {giant}, and the mean of {size.idle}"
        " associations that have each stored one CT slice and stay open.",
        [Case(giant, measure_giant), Case(idle, measure_idle)],
        [at_most(giant, 64, "MiB"), at_most(idle, 1, "MiB")],
    )


# --- job start ------------------------------------------------------------------------------------------------------

_STAMP = "import sys, time; open(sys.argv[1], 'w').write(str(time.time()) + chr(10))"


def _job_start(size: Size) -> Row:
    few, many = size.instances
    few_words, many_words = f"{few:,} instances", f"{many:,} instances"

    def cost_ratio(medians: Medians) -> float:
        return (medians[many_words] / many) / (medians[few_words] / few)

    return Row(
        "job-start",
        "Release to job start",
        "s",
        "From A-RELEASE-RP, as the sender sees it, to the first line of the pipeline's process; durability instance,"
        " AE Title with timeout 0, instances of some 2 KiB.",
        [Case(few_words, _until_job(few)), Case(many_words, _until_job(many))],
        [
            at_most(many_words, 2, "s"),
            Target(
                "cost per instance, at most 1.3 x that of the smaller one", many_words, cost_ratio, 1.3, at_most=True
            ),
        ],
    )


def _until_job(count: int) -> Callable[[Session], float]:
    def measure(session: Session) -> float:
        stamp = session.new_folder("stamp")
        command = [sys.executable, "-I", "-S", "-c", _STAMP, str(stamp)]
        with running(receivers.adapter("instance", timeout=0, command=command), session.new_folder("receiver")) as it:
            report = pre_encoded(session, it, "small", count, 1)
            deadline = time.monotonic() + 60.0
            while not (stamp.exists() and stamp.read_text().endswith("\n")):
                if time.monotonic() > deadline:
                    raise BenchError("no job started within 60 s")
                time.sleep(0.01)
            return float(stamp.read_text()) - report["released_at"]

    return measure


def _run(command: Sequence[str]) -> str:
    """Standard output of a sender. Raises BenchError unless it succeeds."""
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=_SEND_TIMEOUT, cwd=Path(__file__).parents[1]
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"{Path(command[0]).name} took more than {_SEND_TIMEOUT:g} s") from None
    if done.returncode:
        last_words = done.stderr.strip().splitlines()[-1:]
        raise BenchError(f"{Path(command[0]).name} failed: {' '.join(last_words)}")
    return done.stdout
