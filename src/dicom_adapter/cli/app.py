"""The programs put together: which command has which name."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from dicom_adapter import __version__
from dicom_adapter.cli import (
    action_commands,
    config_commands,
    dicom_commands,
    list_commands,
    migration_commands,
    resource_commands,
    service_commands,
    show_commands,
)
from dicom_adapter.cli.outcome import CliError
from dicom_adapter.cli.output import say, warn

_EXIT_STATUS = (
    "Exit status: 0 done; 1 what was asked for did not happen; 2 wrong arguments or configuration, nothing touched; "
    "3 the adapter is not running; 4 it is already running."
)


class Program(TyperGroup):
    """A group whose commands may end with CliError."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; what it could not do is said on stderr."""
        try:
            return super().invoke(ctx)
        except CliError as error:
            warn(str(error))
            raise typer.Exit(error.code) from None


def _print_version(wanted: bool) -> None:
    if wanted:
        say(__version__)
        raise typer.Exit


VersionOption = Annotated[
    bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
]


def _main(version: VersionOption = False) -> None:
    """The Clara DICOM Adapter: receives studies, runs pipelines on them, sends the results on."""


def _program() -> typer.Typer:
    program = typer.Typer(cls=Program, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    program.callback(epilog=_EXIT_STATUS)(_main)
    return program


def _register(program: typer.Typer) -> None:
    service_commands.register(program)
    list_commands.register(program)
    show_commands.register(program)
    action_commands.register(program)
    resource_commands.register(program)
    dicom_commands.register(program)
    config = typer.Typer(help="The configuration file.", no_args_is_help=True)
    config_commands.register(config)
    migration_commands.register(config)
    program.add_typer(config, name="config")


def _dicom() -> typer.Typer:
    group = typer.Typer(help="The DICOM Adapter.", no_args_is_help=True, epilog=_EXIT_STATUS)
    _register(group)
    return group


clara_program = _program()
clara_program.add_typer(_dicom(), name="dicom")

dicom_adapter_program = _program()
_register(dicom_adapter_program)
dicom_adapter_program.add_typer(_dicom(), name="dicom", hidden=True)  # Clara's words, for those who know them
