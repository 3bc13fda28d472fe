"""What people see: tables, times, sizes. Programs get JSON from the same answers.

SECURITY: answers of the API may hold words that came from a peer or a pipeline; nothing here interprets them as markup,
and control characters never reach the terminal.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text
from ruamel.yaml import YAML

_GAP = " " * 3  # between the columns of a table
_INDENT = " " * 4  # before words that stand below their row
_LAST_COLUMN = 32  # columns that its last column has at least, to stand beside the others
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


def print_yaml(value: object) -> None:
    """The answer as YAML, its keys in their order."""
    text = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(value, text)
    say(text.getvalue().rstrip())


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], empty: str) -> None:
    """Rows below their headings, or a sentence when there are none. Columns ending in # are numbers.

    The last column holds the longest words. Where the terminal leaves too little for them beside the others, they
    stand below each row; where even the others do not fit, each row is a block of lines.
    """
    body = [[printable(cell) for cell in row] for row in rows]
    if not body:
        say(empty)
        return
    names = [column.removesuffix("#") for column in columns]
    *fixed, last = (max(map(cell_len, cells)) for cells in zip(names, *body, strict=True))
    width = console().width
    beside = sum(fixed) + len(_GAP) * len(fixed)  # where the last column begins
    if beside + min(last, _LAST_COLUMN) <= width:
        for line in _beside(columns, body, fixed, min(last, width - beside)):
            say(line)
    elif beside - len(_GAP) <= width:
        for line in _below(columns, body, fixed, width):
            say(line)
    else:
        for number, row in enumerate(body):
            if number:
                say("")
            facts([(name, cell) for name, cell in zip(names, row, strict=True) if cell])


def _beside(columns: Sequence[str], body: Sequence[Sequence[str]], fixed: Sequence[int], last: int) -> Iterator[str]:
    widths = [*fixed, last]
    yield _row([column.removesuffix("#") for column in columns], columns, widths)
    yield "─" * (sum(fixed) + len(_GAP) * len(fixed) + last)
    for row in body:
        first, *more = _wrap(row[-1], last)
        yield _row([*row[:-1], first], columns, widths)
        for line in more:
            yield _row([*("" for _ in fixed), line], columns, widths)


def _below(columns: Sequence[str], body: Sequence[Sequence[str]], fixed: Sequence[int], width: int) -> Iterator[str]:
    yield _row([column.removesuffix("#") for column in columns[:-1]], columns, fixed)
    yield "─" * (sum(fixed) + len(_GAP) * (len(fixed) - 1))
    for row in body:
        yield _row(row[:-1], columns, fixed)
        if row[-1]:
            yield from (f"{_INDENT}{line}" for line in _wrap(row[-1], width - len(_INDENT)))


def _row(cells: Sequence[str], columns: Sequence[str], widths: Sequence[int]) -> str:
    padded = []
    for cell, column, width in zip(cells, columns, widths, strict=False):
        space = " " * (width - cell_len(cell))
        padded.append(space + cell if column.endswith("#") else cell + space)
    return _GAP.join(padded).rstrip()


def facts(pairs: Sequence[tuple[str, str]]) -> None:
    """Names with their values, one below the other. A terminal gets words wrapped beside their names; never a UID."""
    beside = max(cell_len(name) for name, _ in pairs) + len(_GAP)
    out = console()
    for name, value in pairs:
        wraps = out.is_terminal and " " in value
        first, *more = _wrap(printable(value), max(out.width - beside, _LAST_COLUMN)) if wraps else [value]
        say(f"{name:{beside}}{first}")
        for line in more:
            say(" " * beside + line)


def _wrap(text: str, width: int) -> list[str]:
    """At least one line; words longer than the width are folded, nothing is cut."""
    return [line.plain.rstrip() for line in Text(text).wrap(console(), max(width, 1), overflow="fold")] or [""]


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


def count(number: int, one: str) -> str:
    """1 -> "1 attempt", 2 -> "2 attempts"."""
    return f"{number} {one}" if number == 1 else f"{number} {one}s"
