"""ClaraAeTitle, Source and Destination as Kubernetes-shaped resources (contract of the 0.6 to 0.7 custom resources).

The REST API serves them as they are; the snapshot is built from them. Every store keeps the same resources, so nothing
above the stores knows whether they came from the file, a database or a cluster.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from dicom_adapter.config import fields
from dicom_adapter.core.snapshot import DEFAULT_PROCESSOR

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
_Uid = Annotated[str, AfterValidator(fields.uid), Field(json_schema_extra={"maxLength": 64, "pattern": "^[0-9.]+$"})]
_Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
_Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._ -]*[A-Za-z0-9])?$")]
_Text = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[^\x00-\x1f\x7f]+$")]

JOB_PROCESSORS = frozenset({DEFAULT_PROCESSOR, "job"})  # names of the processor that makes jobs
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
    """spec of a ClaraAeTitle, of both generations: pipelineId, or processorSettings with `pipeline-<name>` keys."""

    name: _Name
    ae_title: _AETitle = "ClaraSCP"
    pipeline_id: _Text | None = None
    timeout: Annotated[int, Field(ge=0, le=86_400, strict=True)] = 0
    overwrite_same_instance: Annotated[bool, Field(strict=True)] = False
    ignored_sop_classes: tuple[_Uid, ...] = ()
    processors: tuple[_Text, ...] = (DEFAULT_PROCESSOR,)
    processor_settings: Mapping[_Text, Annotated[str, Field(coerce_numbers_to_str=True)]] = {}

    @model_validator(mode="before")
    @classmethod
    def _name_defaults_to_ae_title(cls, data: Any) -> Any:
        if isinstance(data, dict) and "name" not in data and isinstance(data.get("aeTitle"), str):
            return {**data, "name": data["aeTitle"]}
        return data

    @property
    def pipeline_ids(self) -> tuple[str, ...]:
        """The pipelines that it names."""
        by_setting = (value for key, value in self.processor_settings.items() if key.startswith("pipeline-"))
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


class _Resource(_Model):
    api_version: str = API_VERSION
    kind: Kind
    metadata: Metadata
    status: Mapping[str, bool] = {"Enabled": True}  # PascalCase, as it has always been serialised


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


Resource: TypeAlias = ClaraAeTitle | Source | Destination


@dataclass(frozen=True, slots=True)
class Resources:
    """All of them, from whichever stores they came."""

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
    """Check the fields of a resource as the REST API takes them. Raises InvalidResourceError."""
    try:
        spec = _SPECS[kind].model_validate(dict(body))
    except ValidationError as error:
        raise InvalidResourceError(wrong_fields(kind, error)) from None
    if isinstance(spec, ClaraAeTitleSpec) and not (spec.pipeline_ids or JOB_PROCESSORS.isdisjoint(spec.processors)):
        raise InvalidResourceError("pipelineId: required, as the batches of this AE Title become jobs")
    return spec


def wrong_fields(kind: Kind, error: ValidationError) -> str:
    """Each field that is wrong, with why."""
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc']) or kind}: {item['msg']}"
        for item in error.errors(include_url=False, include_input=False, include_context=False)
    )


def build(spec: Spec, metadata: Metadata) -> Resource:
    """The resource of a spec."""
    if isinstance(spec, ClaraAeTitleSpec):
        return ClaraAeTitle(metadata=metadata, spec=spec)
    if isinstance(spec, SourceSpec):
        return Source(metadata=metadata, spec=spec)
    return Destination(metadata=metadata, spec=spec)


def resource_name(name: str) -> str:
    """metadata.name: lower case; what Kubernetes allows in no name (`_`, spaces) becomes a dash."""
    return _NOT_IN_A_NAME.sub("-", name.lower()).strip("-.") or "unnamed"


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
