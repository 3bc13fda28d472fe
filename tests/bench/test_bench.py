"""The bench's own parts work together. Nothing here looks at a clock: `make bench` does."""

from __future__ import annotations

import datetime
import socket
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest

from bench import folders, receivers, report, samples, sender, sink, wire
from bench.measure import Case, Result, Row, Session, Target, at_most, speed_over, take, throughput_over
from bench.rows import Size, rows


@pytest.mark.parametrize("sync", list(sink.Sync))
def test_the_sink_stores_what_the_sender_sends(tmp_path: Path, sync: sink.Sync) -> None:
    sample = samples.mr_slice()
    with receivers.running(receivers.sink(sync), tmp_path / "sink") as receiving:
        sender.send_series(receiving.port, receivers.AE_TITLE, sample, run=7, count=5, associations=2)
        stored = sorted(path.read_bytes() for path in receiving.folder.rglob("*.dcm"))
    assert stored == sorted(sample.encode(7, number) for number in range(5))


def test_the_adapter_takes_what_the_sender_sends(tmp_path: Path) -> None:
    sample = samples.mr_slice()
    with receivers.running(receivers.adapter("none"), tmp_path / "adapter") as receiving:
        report = sender.send_series(receiving.port, receivers.AE_TITLE, sample, run=7, count=3, associations=1)
        stored = [pydicom.dcmread(path) for path in receiving.folder.rglob("*.dcm")]
    assert {data_set.SOPInstanceUID for data_set in stored} == {samples.instance_uid(7, n) for n in range(3)}
    assert report["bytes"] == 3 * len(sample.data_set)


def test_a_refused_instance_stops_the_sender() -> None:
    ours, theirs = _socket_pair()
    with ours, theirs:
        failure = wire.c_store_rsp(1).replace(sender._STATUS + b"\0\0", sender._STATUS + b"\0\xa7")
        theirs.sendall(b"".join(wire.p_data(1, failure, 16384, command=True)))
        with pytest.raises(wire.Refused, match="A700H"):
            sender.expect_success(ours)


def test_a_response_with_a_message_id_that_looks_like_a_status_is_read_right() -> None:
    ours, theirs = _socket_pair()
    with ours, theirs:
        theirs.sendall(b"".join(wire.p_data(1, wire.c_store_rsp(0x0209), 16384, command=True)))
        sender.expect_success(ours)


def test_files_of_a_series_get_new_uids_and_keep_their_bytes(tmp_path: Path) -> None:
    sample = samples.mr_slice()
    series = samples.SeriesFolder(tmp_path / "series", sample, 2)
    series.renew(3)
    for number, path in enumerate(series.files):
        data_set = pydicom.dcmread(path)
        assert data_set.SOPInstanceUID == data_set.file_meta.MediaStorageSOPInstanceUID
        assert data_set.SOPInstanceUID == samples.instance_uid(3, number)
        assert data_set.StudyInstanceUID == samples.study_uid(3)
        assert path.read_bytes().endswith(sample.encode(3, number))


@pytest.mark.parametrize(("sample", "size"), [(samples.ct_slice(), 512 << 10), (samples.mr_slice(), 32 << 10)])
def test_a_sample_has_the_pixels_that_its_name_says(sample: samples.Sample, size: int) -> None:
    assert size < len(sample.data_set) < size + 16384
    assert samples.instance_uid(0, 0).encode() in sample.head(0, 0)


def test_cases_take_turns_and_medians_decide() -> None:
    taken: list[str] = []
    figures = iter([10.0, 1.0, 30.0, 3.0, 20.0, 2.0])

    def figure(name: str) -> float:
        taken.append(name)
        return next(figures)

    row = Row(
        "row",
        "Row",
        "MB/s",
        "What it means.",
        [
            Case("ours", lambda _: figure("ours")),
            Case("peer", lambda _: figure("peer")),
            Case("away", lambda _: figure("away"), absent=True),
        ],
        [throughput_over("ours", "peer", 10), speed_over("ours", "peer", 1), throughput_over("ours", "away", 2)],
    )
    result = take(row, Session(Path()), 3, lambda _: None)
    assert taken == ["ours", "peer"] * 3
    assert result.medians == {"ours": 20.0, "peer": 2.0}
    assert [result.reached(target) for target in row.targets] == [10.0, 0.1, None]
    assert [target.met(10.0) for target in row.targets[:2]] == [True, True]


def test_the_ceiling_shows_what_a_target_could_be_at_most() -> None:
    targets = [throughput_over("ours", "peer", 10), speed_over("ours", "peer", 1), at_most("other", 3, "s")]
    figures = {"ours": [20.0], "peer": [2.0], "sink": [40.0]}
    row = Row("row", "Row", "MB/s", "A row.", [], targets, ceiling="sink")
    assert [Result(row, figures).ceiling(target) for target in targets] == [20.0, 0.05, 40.0]
    without = Row("row", "Row", "MB/s", "A row.", [], targets)
    assert [Result(without, figures).ceiling(target) for target in targets] == [None, None, None]


def test_a_case_that_fails_is_reported_and_not_repeated() -> None:
    def fail(_: Session) -> float:
        raise receivers.BenchError("no peer")

    result = take(Row("row", "Row", "s", "", [Case("it", fail)], []), Session(Path()), 3, lambda _: None)
    assert (result.figures, result.missing) == ({}, {"it": "no peer"})


def test_the_report_says_which_target_is_missed() -> None:
    row = Row("memory", "Memory", "MiB", "Growth.", [], [at_most("one", 64, "MiB"), at_most("two", 1, "MiB")])
    result = Result(row, {"one": [63.0], "two": [2.0, 3.0, 4.0]}, {"three": "not installed"})
    text = report.markdown([result], {"Python": "3.11"}, datetime.date(2026, 11, 22))
    assert "| Memory | one: at most 64 MiB | 63 | - | yes |" in text
    assert "| Memory | two: at most 1 MiB | 3 | - | **no** |" in text
    assert "| two | 3 | 2 | 4 | 3 |" in text
    assert "not installed" in text


def test_a_session_leaves_nothing_behind(tmp_path: Path) -> None:
    with folders.session(tmp_path) as folder:
        (folder / "receiver").mkdir()
        (folder / "receiver" / "1.dcm").write_bytes(b"stored")
    assert list(tmp_path.iterdir()) == []


def test_every_target_names_cases_of_its_row() -> None:
    for row in rows(Size.quick()):
        medians = {case.name: 1.0 for case in row.cases}
        assert row.ceiling is None or row.ceiling in medians
        assert row.targets
        for target in row.targets:
            assert isinstance(target, Target)
            assert target.value(medians) > 0


def test_the_command_line_knows_its_rows() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--rows", "nothing"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "durable-4" in done.stderr


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    """A TCP pair: the sender sets TCP options."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    return one, other
