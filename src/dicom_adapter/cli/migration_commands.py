"""config convert, config import: what others configured, in our words."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from dicom_adapter.cli.client import Client
from dicom_adapter.cli.outcome import CliError, ExitCode
from dicom_adapter.cli.output import say, warn
from dicom_adapter.cli.target import ApiOption, FileOption, TokenFileOption, client
from dicom_adapter.config import ConfigError, load_text
from dicom_adapter.config.appsettings import convert as converted
from dicom_adapter.config.foreign import Entry, as_yaml, name_pipeline, needs_pipeline, read
from dicom_adapter.config.resources import resource_name

OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write it. Default: the terminal.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(convert)
    app.command(name="import")(import_)


def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="appsettings.json of 0.7.2 to 0.8.2.")],
    output: OutputOption = None,
) -> None:
    """Convert the appsettings.json of a Clara DICOM Adapter to our YAML, with comments on what has no equal."""
    try:
        text = converted(file.read_text(encoding="utf-8-sig"), str(file))
    except UnicodeDecodeError:
        raise CliError(ExitCode.USAGE, f"{file} is not UTF-8 text") from None
    except OSError as error:
        raise CliError(ExitCode.USAGE, f"cannot read {file}: {error.strerror}") from None
    except ConfigError as error:
        raise CliError(ExitCode.USAGE, error.render()) from None
    _hand_over(text, output)


def import_(
    from_file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Database (SQLite) of the Clara DICOM Adapter 0.8 or of MONAI Deploy Informatics Gateway, or JSON"
            " lists, such as `kubectl get claraaetitles,sources,destinations -o json` prints.",
        ),
    ],
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", metavar="ID", help="Pipeline of the AE Titles that name none.")
    ] = None,
    yaml: Annotated[
        bool, typer.Option("--yaml", help="Print lists for the configuration file, and ask no adapter.")
    ] = False,
    file: FileOption = None,
    api: ApiOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Take over AE Titles, sources and destinations: into a running adapter, or as lists for its file.

    What is there already stays as it is, so the same import may be run again.
    """
    try:
        found = read(from_file)
    except ConfigError as error:
        raise CliError(ExitCode.USAGE, error.render()) from None
    if pipeline is not None:
        name_pipeline(found.entries, pipeline)
    for remark in found.remarks:
        warn(f"note: {remark}")
    for entry in found.entries:
        for remark in entry.remarks:
            warn(f"note: {entry.kind} {entry.title}: {remark}")
    without = [entry for entry in found.entries if needs_pipeline(entry)]
    for entry in without:
        warn(f"{entry.kind} {entry.title}: no pipeline; name one with --pipeline ID, or map it in the file")
    if yaml:
        _hand_over(as_yaml(found.entries, [f"Taken from {from_file.name} by `clara dicom config import`."]), None)
        return
    with closing(client(file, api, token_file)) as asked:
        failed = _create(asked, [entry for entry in found.entries if entry not in without])
    if failed or without:
        raise typer.Exit(ExitCode.FAILED)


def _hand_over(text: str, output: Path | None) -> None:
    """Print or write a configuration, and tell what is wrong with it still."""
    if output is None:
        say(text.rstrip("\n"))
    else:
        try:
            with output.open("x", encoding="utf-8") as file:  # never over another
                file.write(text)
        except FileExistsError:
            raise CliError(ExitCode.USAGE, f"{output} is there already: remove it, or name another file") from None
        except OSError as error:
            raise CliError(ExitCode.FAILED, f"cannot write {output}: {error.strerror}") from None
        say(f"Written: {output}. Look through it, then: clara dicom config check {output}")
    try:
        load_text(text, {})
    except ConfigError as error:
        warn(error.render())
        raise typer.Exit(ExitCode.FAILED) from None


def _create(asked: Client, entries: list[Entry]) -> int:
    """Make each that is not there; how many could not be made."""
    failed = 0
    there: dict[str, set[str]] = {}
    for entry in entries:
        path = f"/api/v1/{entry.kind.plural}"
        if path not in there:
            there[path] = _names(asked.get(path))
        name = resource_name(entry.title)
        if name in there[path]:
            say(f"{entry.kind} {entry.title}: is there already, left as it is")
            continue
        try:
            asked.post(path, {"spec": entry.spec})
        except CliError as error:
            if error.code is ExitCode.NOT_RUNNING:
                raise
            failed += 1
            warn(f"{entry.kind} {entry.title}: {error}")
        else:
            there[path].add(name)
            say(f"{entry.kind} {entry.title}: made")
    return failed


def _names(answer: Any) -> set[str]:
    return {str(item["metadata"]["name"]) for item in answer["items"]}
