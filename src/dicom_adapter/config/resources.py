"""ClaraAeTitle, Source and Destination as Kubernetes-shaped resources (contract of the 0.6 to 0.7 custom resources).

The REST API serves them as they are; the snapshot is built from them. Every store keeps the same resources, so nothing
above the stores knows whether they came from the file, a database or a cluster.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from dicom_adapter.config import fields, invalid, processor_settings
from dicom_adapter.core.snapshot import DEFAULT_PROCESSOR, is_job_processor

GROUP = "dicom.clara.nvidia.com"
VERSION = "v1beta2"
API_VERSION = f"{GROUP}/{VERSION}"
NAMESPACE = "default"

# What a pattern says of a rule, the API server of a cluster checks too (`config.crd`); the rest is ours to refuse.
_AETitle = Annotated[
    str,
    AfterValidator(fields.ae_title),
    Field(json_schema_extra={"maxLength": 16, "pattern": r"^[ -\[\]-~]*[!-\[\]-~][ -\[\]-~]*$"}),
]
_Host = Annotated[
    str, AfterValidator(fields.host), Field(json_schema_extra={"maxLength": 253, "pattern": "^[A-Za-z0-9_.:-]+$"})
]
_Uid = Annotated[
    str,
    AfterValidator(fields.uid),
    Field(json_schema_extra={"maxLength": 64, "pattern": r"^(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*$"}),
]
_Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
_Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._ -]*[A-Za-z0-9])?$")]
_Text = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[^\x00-\x1f\x7f]+$")]
_Setting = Annotated[str, Field(coerce_numbers_to_str=True, max_length=1024, pattern=r"^[^\x00-\x1f\x7f]*$")]

_NOT_IN_A_NAME = re.compile(r"[^a-z0-9.-]+")


class Kind(StrEnum):
    """The three kinds of resources."""

    CLARA_AE_TITLE = "ClaraAeTitle"
    SOURCE = "Source"
    DESTINATION = "Destination"

    @property
    def plural(self) -> str:
        """As in the path of the Kubernetes API."""
        return f"{self.lower()}s"


class InvalidResourceError(ValueError):
    """A spec that breaks a rule; the text names each wrong field."""


class _Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, validate_by_name=True, serialize_by_alias=True
    )


class ClaraAeTitleSpec(_Model):
    """spec of a ClaraAeTitle, of both generations: pipelineId and processors, or processor and processorSettings."""

    name: _Name
    ae_title: _AETitle = "ClaraSCP"
    pipeline_id: _Text | None = None
    timeout: Annotated[int, Field(ge=0, le=86_400, strict=True)] = 0
    overwrite_same_instance: Annotated[bool, Field(strict=True)] = False
    ignored_sop_classes: Annotated[tuple[_Uid, ...], Field(max_length=1000)] = ()
    processors: Annotated[tuple[_Text, ...], Field(max_length=32)] | None = None
    processor: _Text | None = None
    processor_settings: Annotated[Mapping[_Text, _Setting], Field(max_length=256)] = {}

    @model_validator(mode="before")
    @classmethod
    def _name_defaults_to_ae_title(cls, data: Any) -> Any:
        if isinstance(data, dict) and "name" not in data and isinstance(data.get("aeTitle"), str):
            return {**data, "name": data["aeTitle"]}
        return data

    @property
    def all_processors(self) -> tuple[str, ...]:
        """What is done with a batch, in this order, whichever generation says it; that it becomes jobs by default."""
        if self.processor is not None:
            return (self.processor,)
        return (DEFAULT_PROCESSOR,) if self.processors is None else self.processors

    @property
    def pipeline_ids(self) -> tuple[str, ...]:
        """The pipelines that it names."""
        by_setting = processor_settings.pipelines(self.processor_settings).values()
        return tuple(dict.fromkeys((*([self.pipeline_id] if self.pipeline_id else []), *by_setting)))


class SourceSpec(_Model):
    """spec of a Source."""

    ae_title: _AETitle
    host_ip: _Host

    @property
    def name(self) -> str:
        """What metadata.name is made of."""
        return self.ae_title


class DestinationSpec(_Model):
    """spec of a Destination."""

    name: _Name
    ae_title: _AETitle
    host_ip: _Host
    port: _Port


class InvalidSpec(BaseModel):
    """A spec that breaks a rule, as it was found."""

    model_config = ConfigDict(extra="allow", frozen=True)

    @property
    def name(self) -> str:
        """Its name, or AE Title, where it has one."""
        return self._text("name") or self.ae_title

    @property
    def ae_title(self) -> str:
        """Its AE Title, where it has one."""
        return self._text("aeTitle")

    def _text(self, field: str) -> str:
        value = (self.model_extra or {}).get(field)
        return value if isinstance(value, str) else ""


Spec: TypeAlias = ClaraAeTitleSpec | SourceSpec | DestinationSpec

_SPECS: Mapping[Kind, type[ClaraAeTitleSpec] | type[SourceSpec] | type[DestinationSpec]] = {
    Kind.CLARA_AE_TITLE: ClaraAeTitleSpec,
    Kind.SOURCE: SourceSpec,
    Kind.DESTINATION: DestinationSpec,
}


class Metadata(_Model):
    """The part of Kubernetes' ObjectMeta that is used."""

    name: str
    namespace: str = NAMESPACE
    uid: str = ""
    resource_version: str = "1"
    creation_timestamp: str | None = None  # RFC 3339
    generation: int = 1


class Condition(_Model):
    """What the adapter thinks of one generation of a spec, and since when (Kubernetes' metav1.Condition)."""

    type: Literal["Accepted"] = "Accepted"
    status: Literal["True", "False"]
    reason: str  # one word, for programs
    message: str
    last_transition_time: str  # RFC 3339; of the last change of `status`
    observed_generation: int


class Status(_Model):
    """status of a resource. `Enabled`: PascalCase, as the original has always serialised it."""

    enabled: Annotated[bool, Field(alias="Enabled")] = True
    conditions: tuple[Condition, ...] = ()


class _Resource(_Model):
    api_version: str = API_VERSION
    kind: Kind
    metadata: Metadata
    status: Status = Status()


class ClaraAeTitle(_Resource):
    """An AE Title that the SCP answers to."""

    kind: Kind = Kind.CLARA_AE_TITLE
    spec: ClaraAeTitleSpec


class Source(_Resource):
    """A peer that may send to us."""

    kind: Kind = Kind.SOURCE
    spec: SourceSpec


class Destination(_Resource):
    """A peer that results are sent to."""

    kind: Kind = Kind.DESTINATION
    spec: DestinationSpec


class InvalidResource(_Resource):
    """A resource of any kind that does not serve: its spec breaks a rule, or another serves in its place."""

    spec: InvalidSpec


Resource: TypeAlias = ClaraAeTitle | Source | Destination | InvalidResource


@dataclass(frozen=True, slots=True)
class Resources:
    """All that serve, from whichever stores they came."""

    ae_titles: tuple[ClaraAeTitle, ...] = ()
    sources: tuple[Source, ...] = ()
    destinations: tuple[Destination, ...] = ()

    @classmethod
    def of(cls, resources: Iterable[Resource]) -> Resources:
        """Sort resources by kind, in the order in which they come."""
        every = tuple(resources)
        return cls(
            ae_titles=tuple(resource for resource in every if isinstance(resource, ClaraAeTitle)),
            sources=tuple(resource for resource in every if isinstance(resource, Source)),
            destinations=tuple(resource for resource in every if isinstance(resource, Destination)),
        )


def parse_spec(kind: Kind, body: Mapping[str, object]) -> Spec:
    """Check the fields of a spec as they come from outside, by their camelCase names. Raises InvalidResourceError."""
    try:
        spec = _SPECS[kind].model_validate(dict(body), by_alias=True, by_name=False)
    except ValidationError as error:
        raise InvalidResourceError(wrong_fields(kind, error)) from None
    if isinstance(spec, ClaraAeTitleSpec):
        _check_processors(spec)
    return spec


def wrong_fields(kind: Kind, error: ValidationError) -> str:
    """Each field that is wrong, with why."""
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc']) or kind}: {invalid.in_words(item)}"
        for item in error.errors(include_url=False, include_input=False, include_context=False)
    )


def _check_processors(spec: ClaraAeTitleSpec) -> None:
    if spec.processor is not None and spec.processors is not None:
        raise InvalidResourceError("processor: the list `processors` says the same: leave one of them out")
    if not any(is_job_processor(name) for name in spec.all_processors):
        return  # what another processor is told is its own affair
    wrong = processor_settings.problems(spec.ae_title, spec.processor_settings)
    if not spec.pipeline_ids:
        either = "pipelineId: required, or `pipeline-<name>` in processorSettings"
        wrong.append(f"{either}. No pipeline defined for AE Title {spec.ae_title}.")
    if wrong:
        raise InvalidResourceError("; ".join(wrong))


def build(spec: Spec, metadata: Metadata, status: Status | None = None) -> Resource:
    """The resource of a spec."""
    status = status or Status()
    if isinstance(spec, ClaraAeTitleSpec):
        return ClaraAeTitle(metadata=metadata, spec=spec, status=status)
    if isinstance(spec, SourceSpec):
        return Source(metadata=metadata, spec=spec, status=status)
    return Destination(metadata=metadata, spec=spec, status=status)


def resource_name(name: str) -> str:
    """metadata.name: lower case; what Kubernetes allows in no name (`_`, spaces) becomes a dash."""
    return _NOT_IN_A_NAME.sub("-", name.lower()).strip("-.") or "unnamed"


def rfc3339(seconds: float) -> str:
    """A time in seconds since the epoch, as Kubernetes writes times."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def check_replacement(old: Resource, spec: Spec) -> None:
    """A resource whose name was made of a field of its spec keeps both. Raises InvalidResourceError."""
    name = old.metadata.name
    if resource_name(old.spec.name) == name != resource_name(spec.name):
        field = "aeTitle" if isinstance(spec, SourceSpec) else "name"
        raise InvalidResourceError(f"{field}: {name} is named after it; to rename, delete it and create another")


def same_identity(one: Spec, other: Spec) -> bool:
    """Whether only one of the two can be: AE Titles that we answer to are exact, names of destinations lack case."""
    if isinstance(one, ClaraAeTitleSpec) and isinstance(other, ClaraAeTitleSpec):
        return one.ae_title == other.ae_title
    if isinstance(one, DestinationSpec) and isinstance(other, DestinationSpec):
        return one.name.lower() == other.name.lower()
    return False


def as_json(resource: Resource) -> dict[str, Any]:
    """The resource as the Kubernetes API would show it."""
    return resource.model_dump(mode="json", exclude_none=True)


def list_as_json(kind: Kind, resources: Sequence[Resource], version: int) -> dict[str, Any]:
    """A list of resources as the Kubernetes API would show it."""
    return {
        "apiVersion": API_VERSION,
        "items": [as_json(resource) for resource in resources],
        "kind": f"{kind}List",
        "metadata": {"continue": "", "resourceVersion": str(version), "selfLink": ""},
    }
