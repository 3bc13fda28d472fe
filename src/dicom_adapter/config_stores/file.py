"""The lists of the configuration file, as resources. Read only: a person edits the file, and a restart reads it."""

from __future__ import annotations

import builtins
import time
from collections.abc import Callable, Iterable, Mapping

from dicom_adapter.config.acceptance import accepted
from dicom_adapter.config.resources import (
    ClaraAeTitleSpec,
    DestinationSpec,
    Kind,
    Metadata,
    Resource,
    SourceSpec,
    Spec,
    resource_name,
    rfc3339,
)
from dicom_adapter.config.schema import Settings
from dicom_adapter.config.store import NotFoundError, ReadOnlyError, Stale

_KEYS = {
    Kind.CLARA_AE_TITLE: "dicom.scp.ae-titles",
    Kind.SOURCE: "dicom.scp.sources",
    Kind.DESTINATION: "dicom.scu.destinations",
}


class FileConfigStore:
    """A ConfigStore over dicom.scp.ae-titles, dicom.scp.sources and dicom.scu.destinations."""

    name = "file"
    place = "the configuration file"

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        now = rfc3339(clock())
        self._resources: dict[Kind, list[Resource]] = {
            Kind.CLARA_AE_TITLE: _named(Kind.CLARA_AE_TITLE, _ae_title_specs(settings), now),
            Kind.SOURCE: _named(Kind.SOURCE, _source_specs(settings), now),
            Kind.DESTINATION: _named(Kind.DESTINATION, _destination_specs(settings), now),
        }

    def stale(self) -> Stale | None:
        return None

    async def list(self, kind: Kind) -> builtins.list[Resource]:
        return [*self._resources[kind]]

    async def get(self, kind: Kind, name: str) -> Resource:
        for resource in self._resources[kind]:
            if resource.metadata.name == name.lower():
                return resource
        raise NotFoundError(f"no {kind} has this name")

    async def create(self, kind: Kind, body: Mapping[str, object]) -> Resource:
        raise _read_only(kind)

    async def replace(
        self, kind: Kind, name: str, body: Mapping[str, object], *, resource_version: str | None = None
    ) -> Resource:
        raise _read_only(kind)

    async def delete(self, kind: Kind, name: str) -> Resource:
        raise _read_only(kind)

    async def version(self) -> int:
        return 1


def _read_only(kind: Kind) -> ReadOnlyError:
    return ReadOnlyError(f"{kind} resources are the list {_KEYS[kind]} of the configuration file: edit it and restart")


def _named(kind: Kind, specs: Iterable[Spec], now: str) -> list[Resource]:
    """Resources with unique names: AE Titles that differ in case only, or sources with two hosts, get a number."""
    result: dict[str, Resource] = {}
    for spec in specs:
        base = name = resource_name(spec.name)
        number = 2
        while name in result:
            name = f"{base}-{number}"
            number += 1
        result[name] = accepted(kind, spec, Metadata(name=name), now)
    return [*result.values()]


def _ae_title_specs(settings: Settings) -> Iterable[ClaraAeTitleSpec]:
    for entry in settings.dicom.scp.ae_titles:
        yield ClaraAeTitleSpec.model_construct(
            name=entry.ae_title,
            ae_title=entry.ae_title,
            pipeline_id=next(iter(settings.pipeline_ids(entry.ae_title)), None),
            timeout=entry.timeout,
            overwrite_same_instance=entry.overwrite_same_instance,
            ignored_sop_classes=entry.ignored_sop_classes,
            processors=entry.processors,
            processor_settings=entry.processor_settings,
        )


def _source_specs(settings: Settings) -> Iterable[SourceSpec]:
    for entry in settings.dicom.scp.sources:
        yield SourceSpec.model_construct(ae_title=entry.ae_title, host_ip=entry.host_ip)


def _destination_specs(settings: Settings) -> Iterable[DestinationSpec]:
    for entry in settings.dicom.scu.destinations:
        yield DestinationSpec.model_construct(
            name=entry.name, ae_title=entry.ae_title, host_ip=entry.host_ip, port=entry.port
        )
