"""Words for people."""

from __future__ import annotations

import pytest

from dicom_adapter.cli import output
from dicom_adapter.cli.output import count, counts, duration, printable, say, size, table


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""),
        (0.0, "0 ms"),
        (0.25, "250 ms"),
        (1.0, "1.0 s"),
        (59.94, "59.9 s"),
        (60.0, "1 min 0 s"),
        (75.0, "1 min 15 s"),
        (3600.0, "1 h 0 min"),
        (90_061.0, "1 d 1 h"),
    ],
)
def test_duration(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 << 20, "5.0 MiB"), (3 << 30, "3.0 GiB"), (2 << 40, "2.0 TiB")],
)
def test_size(count: int, words: str) -> None:
    assert size(count) == words


def test_counts_leave_out_what_is_not() -> None:
    assert counts([("failed", 0), ("set_aside", 2), ("done", 1)]) == "2 set aside, 1 done"
    assert counts([("failed", 0)]) == "none"


@pytest.mark.parametrize(
    ("text", "shown"), [("ok\n\t", "ok\n\t"), ("\x1b[2J", "\\x1b[2J"), ("a\x07b", "a\\x07b"), ("é", "é")]
)
def test_what_came_from_a_peer_cannot_write_into_the_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_nothing_is_markup(capsys: pytest.CaptureFixture[str]) -> None:
    say("[bold]x[/bold] :smile:")
    table(("A", "B"), [("[red]y", "z")], "none")
    out = capsys.readouterr().out
    assert "[bold]x[/bold] :smile:" in out
    assert "[red]y" in out


def test_an_empty_table_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    table(("A",), [], "no jobs")
    assert capsys.readouterr().out == "no jobs\n"


def test_long_cells_are_folded_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    table(("Id", "Why"), [("x" * 64, "word " * 100 + "end")], "none")
    out = capsys.readouterr().out
    assert "x" * 64 in out
    assert "end" in out


COLUMNS = ("Id", "Files#", "Why")
ROWS = [("1m82", "7", "no connection to the archive was possible"), ("1m83", "12", "")]


def printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int) -> list[str]:
    monkeypatch.setattr(output, "_PIPE_WIDTH", width)
    table(COLUMNS, ROWS, "none")
    return capsys.readouterr().out.splitlines()


def test_long_words_stand_beside_the_row_where_there_is_room(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert printed(capsys, monkeypatch, 50) == [
        "Id     Files   Why",
        "─" * 50,
        "1m82       7   no connection to the archive was",
        "               possible",
        "1m83      12",
    ]


def test_long_words_stand_below_the_row_where_it_is_narrow(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert printed(capsys, monkeypatch, 30) == [
        "Id     Files",
        "─" * 12,
        "1m82       7",
        "    no connection to the",
        "    archive was possible",
        "1m83      12",
    ]


def test_rows_that_do_not_fit_at_all_are_blocks_of_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert printed(capsys, monkeypatch, 11) == [
        "Id      1m82",
        "Files   7",
        "Why     no connection to the archive was possible",
        "",
        "Id      1m83",
        "Files   12",
    ]


@pytest.mark.parametrize("width", range(8, 60))
def test_no_word_is_lost_at_any_width(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = "".join("".join(printed(capsys, monkeypatch, width)).split())
    assert all("".join(cell.split()) in shown for row in ROWS for cell in row)


def test_count() -> None:
    assert [count(number, "attempt") for number in range(3)] == ["0 attempts", "1 attempt", "2 attempts"]
