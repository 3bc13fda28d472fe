"""`python -m bench`: take the figures, show the table."""

from __future__ import annotations

import dataclasses
import datetime
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from . import folders, machine, report
from .measure import Result, Row, Session, take
from .rows import Size, rows

_ROOT = Path(__file__).parents[1]
_REPORT = _ROOT / "docs" / "performance.md"
_MEMORY = 2 << 30  # bytes; a series takes 200 MB in files and as much in the sender


def main(
    only: Annotated[list[str] | None, typer.Option("--rows", help="Rows to measure (may be repeated).")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Less of everything: shapes, not figures.")] = False,
    slices: Annotated[int | None, typer.Option(help="CT slices of a series.", min=4)] = None,
    repeats: Annotated[int | None, typer.Option(help="Figures of each case.", min=1)] = None,
    write: Annotated[bool, typer.Option("--write", help="Write docs/performance.md.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON to standard output.")] = False,
) -> None:
    """How fast the adapter is, beside DCMTK, Orthanc, pynetdicom and a bare sink."""
    console = Console(stderr=as_json)
    size = Size.quick() if quick else Size()
    if slices:
        size = dataclasses.replace(size, slices=slices)
    chosen = _chosen(rows(size), only or [])
    with folders.session(_ROOT) as folder:  # not in /tmp, which may be memory
        facts = machine.describe(folder)
        session = Session(folder, memory=0 if quick else _MEMORY)
        results = _measure(chosen, session, repeats or (1 if quick else 7), console)
    today = datetime.datetime.now(datetime.UTC).date()
    if as_json:
        print(json.dumps(report.document(results, facts, today), indent=2))
    else:
        console.print(report.table(results))
        console.print(", ".join(f"{name} {value}" for name, value in facts.items()))
    if write:
        _REPORT.write_text(report.markdown(results, facts, today), encoding="utf-8")
        console.print(f"written: {_REPORT.relative_to(_ROOT)}")


def _chosen(known: list[Row], keys: list[str]) -> list[Row]:
    unknown = set(keys) - {row.key for row in known}
    if unknown:
        names = ", ".join(row.key for row in known)
        raise typer.BadParameter(f"no row is called {', '.join(sorted(unknown))}; there are {names}")
    return [row for row in known if not keys or row.key in keys]


def _measure(chosen: list[Row], session: Session, repeats: int, console: Console) -> list[Result]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=sum(len(row.cases) for row in chosen) * repeats)
        results = []
        for done, row in enumerate(chosen, start=1):

            def tell(case: str, row: Row = row) -> None:
                progress.update(task, advance=1, description=f"{row.title}: {case}")

            results.append(take(row, session, repeats, tell))
            progress.update(task, completed=sum(len(it.cases) for it in chosen[:done]) * repeats)
    return results


if __name__ == "__main__":
    typer.run(main)
