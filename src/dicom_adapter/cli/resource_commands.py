"""create, list, get, delete of Clara AE Titles, sources and destinations, in the words of the original's command line.

clara dicom create aetitle -a BrainTumor pipeline-brain=7b9cda79ed834fdc87cd4169216c4011
clara dicom delete aet -n braintumor
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from dicom_adapter.cli.client import Client
from dicom_adapter.cli.outcome import CliError, ExitCode
from dicom_adapter.cli.output import facts, print_json, print_yaml, say, table
from dicom_adapter.cli.target import asks, with_options
from dicom_adapter.config import processor_settings
from dicom_adapter.config.resources import resource_name

Spec = dict[str, Any]
Answer = tuple[Any, Callable[[], None]]


class Output(StrEnum):
    """How an answer is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="How the answer is printed.")]
JsonOption = Annotated[bool, typer.Option("--json", help="The same as -o json.")]
AeTitleOption = Annotated[str, typer.Option("--ae-title", "-a", metavar="AET", help="Its AE Title.")]
NameOption = Annotated[str | None, typer.Option("--name", "-n", help="The metadata.name that the list shows.")]
NameArgument = Annotated[str | None, typer.Argument(metavar="NAME", help="The same as -n.", show_default=False)]
HostOption = Annotated[str, typer.Option("--host-ip", "-i", metavar="HOST", help="Its IP address or host name.")]


@dataclass(frozen=True, slots=True)
class Noun:
    """A kind of resources: its word here, its other words, its path. `columns`: heading -> how it is made of a spec."""

    word: str
    aliases: Sequence[str]
    plural: str  # in the API
    says: str
    columns: Sequence[tuple[str, Callable[[Spec], object]]]

    @property
    def path(self) -> str:
        """Where the API has them."""
        return f"/api/v1/{self.plural}"


def _field(name: str) -> Callable[[Spec], object]:
    return lambda spec: spec.get(name, "")


def _pipelines(spec: Spec) -> str:
    """Of both generations: pipelineId, and the pipeline-<name> settings."""
    settings = spec.get("processorSettings")
    named = processor_settings.pipelines(settings) if isinstance(settings, dict) else {}  # one that is invalid is shown
    by_id = [str(spec["pipelineId"])] if spec.get("pipelineId") else []
    return ", ".join([*by_id, *(f"{name}={value}" for name, value in named.items())])


AE_TITLE = Noun(
    "aetitle",
    ("aetitles", "aet", "aets", "claraaet", "claraaetitle", "claraaetitles"),
    "claraaetitles",
    "Clara AE Title",
    (("AE Title", _field("aeTitle")), ("Timeout#", _field("timeout")), ("Pipelines", _pipelines)),
)
SOURCE = Noun(
    "source",
    ("sources", "src", "srcs"),
    "sources",
    "Source",
    (("AE Title", _field("aeTitle")), ("Host", _field("hostIp"))),
)
DESTINATION = Noun(
    "destination",
    ("destinations", "dest", "dests", "dst"),
    "destinations",
    "Destination",
    (("AE Title", _field("aeTitle")), ("Host", _field("hostIp")), ("Port#", _field("port"))),
)
NOUNS = (AE_TITLE, SOURCE, DESTINATION)
_CANONICAL = {alias: noun.word for noun in NOUNS for alias in (noun.word, *noun.aliases)}


class Nouns(TyperGroup):
    """A verb's nouns, by any of their words."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a word."""
        return super().get_command(ctx, _CANONICAL.get(cmd_name.lower(), cmd_name))


def _answers(command: Callable[..., Answer]) -> Callable[..., None]:
    """A command over the API that gives its answer back, and how people are told of it; programs choose with -o."""

    @functools.wraps(command)
    def run(asked: Client, *, output: Output, as_json: bool, **arguments: Any) -> None:
        answer, tell = command(asked, **arguments)
        if as_json or output is Output.JSON:
            print_json(answer)
        elif output is Output.YAML:
            print_yaml(answer)
        else:
            tell()

    options = {"output": (OutputOption, Output.TABLE), "as_json": (JsonOption, False)}
    run.__signature__ = with_options(command, options)  # type: ignore[attr-defined]
    return asks(run)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    creates = {AE_TITLE.word: create_ae_title, SOURCE.word: create_source, DESTINATION.word: create_destination}
    for verb, does, command_of in (
        ("create", "Make a", lambda noun: creates[noun.word]),
        ("list", "List every", _list),
        ("get", "Show one", _get),
        ("delete", "Remove one", _delete),
    ):
        group = typer.Typer(cls=Nouns, no_args_is_help=True, help=f"{does} Clara AE Title, source or destination.")
        for noun in NOUNS:
            also = f"{does} {noun.says}. Other words for it: {', '.join(noun.aliases)}."
            group.command(noun.word, help=also)(command_of(noun))
        app.add_typer(group, name=verb)


@_answers
def create_ae_title(
    asked: Client,
    ae_title: AeTitleOption,
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[pipeline-NAME=ID] [KEY=VALUE]...",
            help="Pipelines that get its batches, and other settings of its processor.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", "-n", help="Its name. Default: the AE Title.")] = None,
    pipeline: Annotated[str | None, typer.Option(metavar="ID", help="The pipeline that gets its batches.")] = None,
    timeout: Annotated[int | None, typer.Option(help="Seconds without an instance that close a batch.")] = None,
    overwrite_same_instance: Annotated[
        bool, typer.Option("--overwrite-same-instance", help="An instance received again replaces the first.")
    ] = False,
    ignored_sop_class: Annotated[
        list[str] | None, typer.Option(metavar="UID", help="A SOP Class that is not stored. Several can be given.")
    ] = None,
) -> Answer:
    """Make a Clara AE Title."""
    spec = {
        "name": name,
        "aeTitle": ae_title,
        "pipelineId": pipeline,
        "timeout": timeout,
        "overwriteSameInstance": overwrite_same_instance or None,
        "ignoredSopClasses": ignored_sop_class or None,
        "processorSettings": dict(map(_setting, settings or ())) or None,
    }
    return _create(asked, AE_TITLE, spec)


@_answers
def create_source(asked: Client, ae_title: AeTitleOption, host_ip: HostOption) -> Answer:
    """Make a source."""
    return _create(asked, SOURCE, {"aeTitle": ae_title, "hostIp": host_ip})


@_answers
def create_destination(
    asked: Client,
    ae_title: AeTitleOption,
    host_ip: HostOption,
    port: Annotated[int, typer.Option("--port", "-p", help="Its TCP port.")],
    name: Annotated[str | None, typer.Option("--name", "-n", help="Its name. Default: the AE Title.")] = None,
) -> Answer:
    """Make a destination."""
    spec = {"name": name or ae_title, "aeTitle": ae_title, "hostIp": host_ip, "port": port}
    return _create(asked, DESTINATION, spec)


def _create(asked: Client, noun: Noun, spec: Spec) -> Answer:
    made = asked.post(noun.path, {"spec": {key: value for key, value in spec.items() if value is not None}})
    return made, lambda: say(f"{noun.says} {made['metadata']['name']} created")


def _list(noun: Noun) -> Callable[..., None]:
    @_answers
    def command(asked: Client) -> Answer:
        found = asked.get(noun.path)
        headings = ("Name", *(heading for heading, _ in noun.columns), "Status")
        rows = [(item["metadata"]["name"], *_cells(noun, item), _status(item)) for item in found["items"]]
        return found, lambda: table(headings, rows, f"no {noun.says}")

    return command


def _get(noun: Noun) -> Callable[..., None]:
    @_answers
    def command(asked: Client, argument: NameArgument = None, name: NameOption = None) -> Answer:
        found = asked.get(_one(noun, argument, name))
        named = zip((heading.removesuffix("#") for heading, _ in noun.columns), _cells(noun, found), strict=True)
        created = found["metadata"].get("creationTimestamp", "")
        rows = [("Name", found["metadata"]["name"]), *named, ("Created", created), ("Status", _status(found))]
        return found, lambda: facts(rows)

    return command


def _delete(noun: Noun) -> Callable[..., None]:
    @_answers
    def command(asked: Client, argument: NameArgument = None, name: NameOption = None) -> Answer:
        gone = asked.delete(_one(noun, argument, name))
        return gone, lambda: say(f"{noun.says} {gone['details']['name']} deleted")

    return command


def _one(noun: Noun, argument: str | None, option: str | None) -> str:
    """The path of the one that is named. Raises CliError."""
    given = {name for name in (argument, option) if name is not None}
    if len(given) != 1:
        raise CliError(ExitCode.USAGE, f"which {noun.says}? Give one NAME: `clara dicom list {noun.word}` shows them")
    return f"{noun.path}/{resource_name(given.pop())}"


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise CliError(
            ExitCode.USAGE, f"{text!r} is no KEY=VALUE, as in pipeline-lung=7b9cda79ed834fdc87cd4169216c4011"
        )
    return key, value


def _status(resource: dict[str, Any]) -> str:
    """Whether it is in force, or why not, in the adapter's words."""
    status = resource.get("status", {})
    words = (one.get("message") for one in status.get("conditions", ()) if one.get("status") != "True")
    return next((str(word) for word in words if word), "in force" if status.get("Enabled", True) else "not in force")


def _cells(noun: Noun, resource: dict[str, Any]) -> Sequence[str]:
    return [str(cell(resource["spec"])) for _, cell in noun.columns]
