"""The results as a table for a terminal, as docs/performance.md, and as JSON."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence

from rich.table import Table

from .measure import Result, Target

_INTRODUCTION = """\
# Performance

Written by `make bench ARGS=--write`: do not edit, measure. Every receiver and sender is a real process on 127.0.0.1.
The cases of a row run in turn, again and again, and a figure is the median of its case: so compare the figures of one
row, not of two runs. A receiver starts afresh, in an empty folder, for each figure, and stores a few instances before
the clock starts. Every instance has new UIDs. A case that has taken more than 20 s is not repeated. Before each figure
2 GiB of memory are written and freed: a virtual machine that gave them back to its host would pay for each page again.

DCMTK `storescp` runs with its defaults and `--fork`; Orthanc with its defaults, "no sync" being
`SyncStorageArea: false`; the pynetdicom SCP writes the encoded data set as it came. The bare sink (`bench/sink.py`) is
the least code that can negotiate, read and write files: it checks nothing, knows no spool, and is the ceiling for
Python on this machine: the column "the sink" tells what it reaches where the adapter is asked for a factor. The
pre-encoded sender (`bench/sender.py`) has made every PDU before the clock starts.

What the adapter does for an instance beyond the sink is Python: PDUs and command checked, the head of the data set
read, File Meta Information, two folders and an index, the response. `py-spy record --gil` shows where the time goes.
Several associations at once also wait for one another in the interpreter (the GIL), and each hand-over is a wake-up.
"""


def table(results: Sequence[Result]) -> Table:
    """For a terminal."""
    grid = Table(title="Performance", show_lines=False)
    for heading in ("", "median", "times", "target", "reached"):
        grid.add_column(heading, justify="right" if heading in ("median", "times", "reached") else "left")
    for result in results:
        grid.add_section()
        grid.add_row(f"[bold]{result.row.title}[/bold]")
        for name, figures in result.figures.items():
            grid.add_row(f"  {name}", f"{_figure(result.medians[name])} {result.row.unit}", str(len(figures)))
        for name, why in result.missing.items():
            grid.add_row(f"  {name}", "-", "", f"[dim]{why}[/dim]")
        for target in result.row.targets:
            grid.add_row("", "", "", target.words, _colored(target, result.reached(target)))
    return grid


def markdown(results: Sequence[Result], machine: Mapping[str, str], when: datetime.date) -> str:
    """docs/performance.md"""
    facts = "\n".join(f"| {name} | {value} |" for name, value in machine.items())
    parts = [_INTRODUCTION, f"Taken on {when.isoformat()}:\n\n| | |\n|---|---|\n{facts}\n", "## Targets\n"]
    lines = ["| row | target | reached | the sink | |", "|---|---|---|---|---|"]
    for result in results:
        for target in result.row.targets:
            value = result.reached(target)
            ceiling = _reached(result.ceiling(target))
            verdict = _verdict(target, value)
            lines.append(f"| {result.row.title} | {target.words} | {_reached(value)} | {ceiling} | {verdict} |")
    parts.append("\n".join(lines) + "\n\n## Figures\n")
    for result in results:
        figures = [
            f"| {name} | {' | '.join(map(_figure, (result.medians[name], min(taken), max(taken))))} | {len(taken)} |"
            for name, taken in result.figures.items()
        ]
        absent = [f"| {name} | {why} | | | |" for name, why in result.missing.items()]
        heading = [f"| {result.row.unit} | median | least | most | times |", "|---|---|---|---|---|"]
        parts.append(
            f"### {result.row.title}\n\n{result.row.meaning}\n\n" + "\n".join(heading + figures + absent) + "\n"
        )
    return "\n".join(parts)


def document(results: Sequence[Result], machine: Mapping[str, str], when: datetime.date) -> dict[str, object]:
    """For programs."""
    return {
        "date": when.isoformat(),
        "machine": dict(machine),
        "rows": [
            {
                "key": result.row.key,
                "title": result.row.title,
                "unit": result.row.unit,
                "medians": dict(result.medians),
                "figures": result.figures,
                "missing": result.missing,
                "targets": [
                    {
                        "target": target.words,
                        "bound": target.bound,
                        "reached": result.reached(target),
                        "ceiling": result.ceiling(target),
                    }
                    for target in result.row.targets
                ],
            }
            for result in results
        ],
    }


def _figure(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _reached(value: float | None) -> str:
    return "-" if value is None else _figure(value)


def _verdict(target: Target, value: float | None) -> str:
    if value is None:
        return "not measured"
    return "yes" if target.met(value) else "**no**"


def _colored(target: Target, value: float | None) -> str:
    if value is None:
        return "[dim]-[/dim]"
    return f"[{'green' if target.met(value) else 'red'}]{_figure(value)}[/]"
