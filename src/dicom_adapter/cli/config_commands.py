"""config check, config show."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from dicom_adapter.cli.outcome import ExitCode
from dicom_adapter.cli.output import print_json, print_yaml, say
from dicom_adapter.cli.target import FileOption, JsonOption, loaded, warnings
from dicom_adapter.config import ConfigError, Problem, load


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(check)
    app.command()(show)


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Configuration file.")],
    as_json: JsonOption = False,
) -> None:
    """Say everything that is wrong with a configuration file, and touch nothing. Exit status 2 if anything is."""
    errors: Iterable[Problem] = ()
    warned: Iterable[Problem] = ()
    notes: Iterable[Problem] = ()
    try:
        found = load(file, os.environ)
        warned, notes = warnings(found), found.notes
        found.require_runnable()
    except ConfigError as error:
        errors = error.problems
        report = error.render()
    else:
        report = f"{file}: no errors; warnings stand above" if warned else f"{file}: no problems"
    if as_json:
        every = {"errors": errors, "warnings": warned, "notes": notes}
        print_json({name: [_as_json(problem) for problem in problems] for name, problems in every.items()})
    else:
        for problem in warned:
            say(f"warning: {problem.render(str(file))}")
        for problem in notes:
            say(f"note: {problem.render(str(file))}")
        say(report)
    raise typer.Exit(ExitCode.USAGE if errors else ExitCode.OK)


def show(file: FileOption = None, as_json: JsonOption = False) -> None:
    """Print the configuration in force: the file, the environment, and every default."""
    found = loaded(file)
    value = found.settings.model_dump(mode="json", by_alias=True)
    if found.settings.services.platform is None:
        del value["services"]["platform-endpoint"]  # printed, it would name a platform
    if as_json:
        print_json(value)
        return
    say(f"# {found.source}")
    print_yaml(value)


def _as_json(problem: Problem) -> dict[str, Any]:
    return {
        "line": problem.line,
        "column": problem.column,
        **{key: value for key, value in dataclasses.asdict(problem).items() if key != "position"},
    }
