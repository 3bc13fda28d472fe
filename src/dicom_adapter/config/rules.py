"""The rules between keys: what no single key can know. Each looks at valid settings and yields problems.

A rule names the parts of the file that it reads. Where one of them is broken in itself, the rule is left out: its
verdict would be a guess, and the first problem is reported anyway.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from dicom_adapter.config import processor_settings
from dicom_adapter.config.document import Path
from dicom_adapter.config.problems import quote
from dicom_adapter.config.schema import AeTitleEntry, Settings
from dicom_adapter.core.snapshot import is_job_processor

SPECIFIED_MAX_ASSOCIATIONS = 5  # 12.1.3.3: "Min: 1, Max: 5"


class Severity(Enum):
    """What a finding means for the start."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found, with the path of the key; the loader knows where that stands in the file."""

    path: Path
    message: str
    severity: Severity = Severity.ERROR
    found: str | None = None
    allowed: str | None = None
    hint: str | None = None


Rule: TypeAlias = Callable[[Settings], Iterable[Finding]]

_SCP: Path = ("dicom", "scp")
_SCU: Path = ("dicom", "scu")
_AE_TITLES: Path = (*_SCP, "ae-titles")
_SOURCES: Path = (*_SCP, "sources")
_DESTINATIONS: Path = (*_SCU, "destinations")
_AE_SWITCH: Path = (*_SCP, "read-aetitles-from-crd")
_SOURCE_SWITCH: Path = (*_SCP, "read-sources-from-crd")
_DESTINATION_SWITCH: Path = (*_SCU, "read-destinations-from-crd")
_MAPPINGS: Path = ("pipeline-mappings",)
_PIPELINES: Path = ("pipelines",)


def check(settings: Settings, broken: Iterable[Path] = ()) -> list[Finding]:
    """Apply every rule that reads none of the broken parts."""
    parts = list(broken)
    return [
        finding
        for rule, reads in _RULES
        if not any(_overlap(part, path) for part in parts for path in reads)
        for finding in rule(settings)
    ]


def unrunnable_pipelines(settings: Settings) -> list[Finding]:
    """Mappings to pipelines of a Clara Platform that is not named. No rule: the file is right, it just cannot run."""
    missing = set(settings.unrunnable_pipelines())
    return [
        Finding(
            (*_MAPPINGS, index, "pipeline-id" if mapping.pipeline_id else "name"),
            "`pipelines` does not define this pipeline, and no Clara Platform is named",
            found=quote(mapping.pipeline_id or mapping.name),
            allowed="the id or name of a pipeline under `pipelines`",
            hint="define it under `pipelines` (engine: process) to run it on this machine, or name the Clara Platform"
            " in services.platform-endpoint",
        )
        for index, mapping in enumerate(settings.pipeline_mappings)
        if settings.pipeline_id(mapping.pipeline_id or mapping.name) in missing
    ]


def missing_processors(settings: Settings, why_missing: Callable[[str], str | None]) -> Iterator[Finding]:
    """Processors that are not there. No rule: only who loads one knows. `why_missing`: in words; None: it is there."""
    if settings.dicom.scp.read_aetitles_from_crd:
        return
    for index, entry in enumerate(settings.dicom.scp.ae_titles):
        for place, name in enumerate(entry.processors):
            if (why := why_missing(name)) is not None:
                path: Path = (*_AE_TITLES, index, "processors", place)
                yield Finding(path, f"the batches of this AE Title will be held: {why}", Severity.WARNING)


def _overlap(first: Path, second: Path) -> bool:
    length = min(len(first), len(second))
    return first[:length] == second[:length]


def _ae_titles(settings: Settings) -> Iterator[Finding]:
    if settings.dicom.scp.read_aetitles_from_crd:
        return
    entries = settings.dicom.scp.ae_titles
    if not entries:
        yield Finding(_AE_TITLES, "no Clara AE Title is defined", allowed="at least one")
    yield from _duplicates((entry.ae_title for entry in entries), _AE_TITLES, "ae-title", "AE Title")


def _mapped_ae_titles(settings: Settings) -> Iterator[Finding]:
    if settings.dicom.scp.read_aetitles_from_crd:
        return
    entries = settings.dicom.scp.ae_titles
    names = {entry.ae_title for entry in entries}
    for index, mapping in enumerate(settings.pipeline_mappings):
        if mapping.clara_ae_title not in names:
            yield Finding(
                (*_MAPPINGS, index, "clara-ae-title"),
                "no such AE Title under dicom.scp.ae-titles",
                found=quote(mapping.clara_ae_title),
                allowed=_listing(sorted(names)),
            )
    for index, entry in enumerate(entries):
        named = processor_settings.pipelines(entry.processor_settings)
        if _makes_jobs(entry) and not named and not settings.pipeline_ids(entry.ae_title):
            yield Finding(
                (*_AE_TITLES, index, "ae-title"),
                "this AE Title is mapped to no pipeline",
                found=quote(entry.ae_title),
                hint=f"add an entry to pipeline-mappings with `clara-ae-title: {entry.ae_title}`",
            )


def _processor_settings(settings: Settings) -> Iterator[Finding]:
    if settings.dicom.scp.read_aetitles_from_crd:
        return
    for index, entry in enumerate(settings.dicom.scp.ae_titles):
        if _makes_jobs(entry):
            for words in processor_settings.problems(entry.ae_title, entry.processor_settings):
                yield Finding((*_AE_TITLES, index, "processor-settings"), words)


def _sources(settings: Settings) -> Iterator[Finding]:
    scp = settings.dicom.scp
    if scp.sources or scp.read_sources_from_crd:
        return
    path = (*_SCP, "reject-unknown-sources")
    if scp.reject_unknown_sources:
        yield Finding(
            path,
            "no source is configured, so every association would be rejected",
            hint="list the peers under dicom.scp.sources, or set reject-unknown-sources: false",
        )
    else:
        yield Finding(path, "no source is configured: all associations will be accepted", Severity.WARNING)


def _destinations(settings: Settings) -> Iterator[Finding]:
    scu = settings.dicom.scu
    if scu.read_destinations_from_crd:
        return
    if not scu.destinations:
        yield Finding(_DESTINATIONS, "no destination is configured: results cannot be sent anywhere", Severity.WARNING)
    yield from _duplicates((entry.name.lower() for entry in scu.destinations), _DESTINATIONS, "name", "name")


def _pipelines(settings: Settings) -> Iterator[Finding]:
    yield from _duplicates((entry.id for entry in settings.pipelines), _PIPELINES, "id", "pipeline id")


def _pipeline_destinations(settings: Settings) -> Iterator[Finding]:
    scu = settings.dicom.scu
    if scu.read_destinations_from_crd:
        return
    names = {entry.name.lower() for entry in scu.destinations}
    for index, pipeline in enumerate(settings.pipelines):
        for place, name in enumerate(pipeline.destinations):
            if name.lower() not in names:
                yield Finding(
                    (*_PIPELINES, index, "destinations", place),
                    "no such name under dicom.scu.destinations",
                    found=quote(name),
                    allowed=_listing(sorted(entry.name for entry in scu.destinations)),
                )


def _scp_associations(settings: Settings) -> Iterator[Finding]:
    yield from _beyond_specified_range((*_SCP, "max-associations"), settings.dicom.scp.max_associations)


def _scu_associations(settings: Settings) -> Iterator[Finding]:
    yield from _beyond_specified_range((*_SCU, "max-associations"), settings.dicom.scu.max_associations)


def _beyond_specified_range(path: Path, value: int) -> Iterator[Finding]:
    if value > SPECIFIED_MAX_ASSOCIATIONS:
        yield Finding(
            path,
            "beyond the specified range; accepted",
            Severity.WARNING,
            found=str(value),
            allowed="1 to 5 as specified",
        )


def _masking(settings: Settings) -> Iterator[Finding]:
    for path, log_phi in (
        ((*_SCP, "log-phi"), settings.dicom.scp.log_phi),
        ((*_SCU, "log-phi"), settings.dicom.scu.log_phi),
    ):
        if log_phi:
            yield Finding(path, "patient data may appear in the log", Severity.WARNING, found="true")


def _durability(settings: Settings) -> Iterator[Finding]:
    if settings.storage.durability == "none":
        message = "a power cut may lose instances whose senders were told that they are stored"
        yield Finding(
            ("storage", "durability"), message, Severity.WARNING, found="none", allowed="`instance` promises it"
        )


def _api_beyond_this_machine(settings: Settings) -> Iterator[Finding]:
    host = settings.api.host
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if loopback:
        return
    if settings.api.token is not None or settings.api.token_file is not None:
        return
    message = "without a token, whoever reaches this address can operate the adapter"
    if settings.api.anonymous:
        yield Finding(("api", "host"), message, Severity.WARNING, found=quote(host), allowed="127.0.0.1")
    else:
        hint = (
            "set `api.token-file` (or `api.token`); `api.anonymous: true` says that none is meant, on a network that"
            " only operators reach"
        )
        yield Finding(("api", "host"), message, found=quote(host), allowed="127.0.0.1", hint=hint)


def _one_token(settings: Settings) -> Iterator[Finding]:
    api = settings.api
    if api.token is not None and api.token_file is not None:
        yield Finding(("api", "token-file"), "there is a token in `api.token` already", hint="keep one of the two")
    if api.anonymous and (api.token is not None or api.token_file is not None):
        hint = "leave one out: with a token, everybody is asked for it"
        yield Finding(("api", "anonymous"), "contradicts the token", found="true", hint=hint)


def _makes_jobs(entry: AeTitleEntry) -> bool:
    return any(is_job_processor(name) for name in entry.processors)


def _duplicates(values: Iterable[str], path: Path, key: str, noun: str) -> Iterator[Finding]:
    seen: Counter[str] = Counter()
    for index, value in enumerate(values):
        if seen[value]:
            yield Finding((*path, index, key), f"this {noun} stands twice", found=quote(value))
        seen[value] += 1


def _listing(names: Iterable[str]) -> str:
    return ", ".join(names) or "none is defined"


_RULES: tuple[tuple[Rule, tuple[Path, ...]], ...] = (
    (_ae_titles, (_AE_TITLES, _AE_SWITCH)),
    (_mapped_ae_titles, (_AE_TITLES, _AE_SWITCH, _MAPPINGS)),
    (_processor_settings, (_AE_TITLES, _AE_SWITCH)),
    (_sources, (_SOURCES, _SOURCE_SWITCH, (*_SCP, "reject-unknown-sources"))),
    (_destinations, (_DESTINATIONS, _DESTINATION_SWITCH)),
    (_pipelines, (_PIPELINES,)),
    (_pipeline_destinations, (_PIPELINES, _DESTINATIONS, _DESTINATION_SWITCH)),
    (_scp_associations, ((*_SCP, "max-associations"),)),
    (_scu_associations, ((*_SCU, "max-associations"),)),
    (_masking, ((*_SCP, "log-phi"), (*_SCU, "log-phi"))),
    (_durability, (("storage", "durability"),)),
    (_api_beyond_this_machine, (("api",),)),
    (_one_token, (("api",),)),
)
