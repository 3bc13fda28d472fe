"""Words for people."""

from __future__ import annotations

import pytest

from dicom_adapter.cli import output
from dicom_adapter.cli.output import counts, duration, printable, say, size, table


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


def test_a_narrow_terminal_gets_lines_not_a_tower(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "_PIPE_WIDTH", 20)
    table(("Id", "Text"), [("x" * 18, "two words")], "none")
    assert "x" * 18 + "   two words" in capsys.readouterr().out
