"""What people see: tables, times, sizes. Programs get JSON from the same answers.

SECURITY: answers of the API may hold words that came from a peer or a pipeline; nothing here interprets them as markup,
and control characters never reach the terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

_GAP = 3  # columns between the columns of a table
_LAST_COLUMN = 32  # columns that its last column has at least
_PIPE_WIDTH = 200  # columns where no terminal says how many it has


def console() -> Console:
    """stdout as it is now (tests replace it)."""
    return _console(stderr=False)


def messages() -> Console:
    """stderr: what is said beside the answer."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    is_terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(
        stderr=stderr, markup=False, highlight=False, emoji=False, width=None if is_terminal else _PIPE_WIDTH
    )


def say(text: str) -> None:
    """One line of the answer. Never wrapped, so that it can be copied."""
    console().print(printable(text), soft_wrap=True)


def warn(text: str) -> None:
    """One line beside the answer."""
    messages().print(printable(text), soft_wrap=True)


def print_json(value: object) -> None:
    """The answer for programs: ASCII, so that it can be piped anywhere."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], empty: str) -> None:
    """Rows below their headings, or a sentence when there are none. Columns ending in # are numbers."""
    body = [[printable(cell) for cell in row] for row in rows]
    if not body:
        say(empty)
        return
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for place, column in enumerate(columns):
        is_number = column.endswith("#")
        grid.add_column(
            column.removesuffix("#"),
            justify="right" if is_number else "left",
            no_wrap=place < len(columns) - 1,
            overflow="fold",
        )
    for row in body:
        grid.add_row(*row)
    target = console()
    *fixed, last = (max(map(cell_len, cells)) for cells in zip(columns, *body, strict=True))
    # Narrower than this the last column would be a tower of syllables: then the terminal may wrap whole lines.
    target.width = max(target.width, sum(fixed) + _GAP * len(fixed) + min(last, _LAST_COLUMN))
    target.print(grid)


def printable(text: str) -> str:
    """Text whose control characters are escaped; line ends and tabs stay."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode("ascii") for one in text
    )


def moment(seconds: float | None) -> str:
    """A time of the API in this machine's time zone."""
    return "" if seconds is None else datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def duration(seconds: float | None) -> str:
    """0.25 -> "250 ms", 75 -> "1 min 15 s"."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def size(count: int) -> str:
    """Bytes as people say them."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def counts(by_state: Iterable[tuple[str, int]]) -> str:
    """Counts by state in one line."""
    return ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in by_state if count) or "none"
