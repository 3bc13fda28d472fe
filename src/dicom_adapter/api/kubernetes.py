"""What a Kubernetes API server answers (contract 3.3): resources, lists of them, and `Status` objects.

`Status` answers a DELETE, and every error of the specified calls; then it also has the `title` and `detail` that the
original's problem documents had (contract 3.4), in the same words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, Field

from dicom_adapter.config.resources import GROUP, ClaraAeTitle, Destination, InvalidResource, Kind, Resource, Source

Item = TypeVar("Item", bound=Resource)


class ListMeta(BaseModel):
    """`continue` is empty, as a list is answered whole."""

    continue_: str = Field(alias="continue")
    resourceVersion: str  # noqa: N815 - Kubernetes' spelling
    selfLink: str  # noqa: N815


class ResourceList(BaseModel, Generic[Item]):
    """`metadata.resourceVersion` grows with every change."""

    apiVersion: Literal["dicom.clara.nvidia.com/v1beta2"]  # noqa: N815 - Kubernetes' spelling
    kind: Literal["ClaraAeTitleList", "SourceList", "DestinationList"]
    items: tuple[Item, ...]
    metadata: ListMeta


_MODELS: Mapping[Kind, type[BaseModel]] = {
    Kind.CLARA_AE_TITLE: ClaraAeTitle,
    Kind.SOURCE: Source,
    Kind.DESTINATION: Destination,
}
# For the OpenAPI document: what a call on a kind answers. A store may hold some that do not serve.
RESOURCES: Mapping[Kind, Any] = {kind: model | InvalidResource for kind, model in _MODELS.items()}
LISTS: Mapping[Kind, type[BaseModel]] = {
    Kind.CLARA_AE_TITLE: ResourceList[ClaraAeTitle | InvalidResource],
    Kind.SOURCE: ResourceList[Source | InvalidResource],
    Kind.DESTINATION: ResourceList[Destination | InvalidResource],
}
_LABEL = "(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
_HOST = {  # what `config.fields.host` takes; a cluster's schemas cannot say it (`config.crd`)
    "type": "string",
    "anyOf": [
        {"format": "ipv4"},
        {"format": "ipv6"},
        {"maxLength": 253, "pattern": rf"^(?!(.*\.)?[0-9]+\.?$){_LABEL}(\.{_LABEL})*\.?$"},
    ],
}


def spec_schema(kind: Kind) -> dict[str, Any]:
    """The fields of a resource's spec, as JSON Schema. The rules between fields are beyond it."""
    spec = _MODELS[kind].model_fields["spec"].annotation
    assert isinstance(spec, type)
    assert issubclass(spec, BaseModel)
    schema = spec.model_json_schema()
    properties = schema["properties"]
    if "hostIp" in properties:
        properties["hostIp"] = _HOST
    if kind is Kind.CLARA_AE_TITLE:
        del schema["required"]
        schema["anyOf"] = [{"required": ["name"]}, {"required": ["aeTitle"]}]  # which name is then made of
        settings = properties["processorSettings"]
        settings["additionalProperties"] = False
        for setting in settings["patternProperties"].values():
            setting["type"] = ["string", "number"]  # a number is taken as its text
    return schema


class Details(BaseModel):
    """Which resource it is about; `kind` is the plural, as in paths."""

    name: str = ""
    group: str = GROUP
    kind: str
    uid: str = ""


class Success(BaseModel):
    """The resource is gone."""

    apiVersion: Literal["v1"] = "v1"  # noqa: N815 - Kubernetes' spelling
    kind: Literal["Status"] = "Status"
    metadata: dict[str, Any] = {}
    status: Literal["Success"] = "Success"
    details: Details


class Failure(BaseModel):
    """It was not done; `message` and `detail` say in words why and what to do."""

    apiVersion: Literal["v1"] = "v1"  # noqa: N815 - Kubernetes' spelling
    kind: Literal["Status"] = "Status"
    metadata: dict[str, Any] = {}
    status: Literal["Failure"] = "Failure"
    reason: Literal["AlreadyExists", "BadRequest", "Invalid", "NotFound", "ServiceUnavailable"]
    message: str
    code: int
    details: Details
    title: str
    detail: str


def deleted(resource: Resource) -> Success:
    """The answer to a DELETE."""
    return Success(details=Details(name=resource.metadata.name, kind=resource.kind.plural, uid=resource.metadata.uid))


class StatusError(Exception):
    """Ends a request with a Failure."""

    def __init__(
        self,
        code: int,
        reason: Literal["AlreadyExists", "BadRequest", "Invalid", "NotFound", "ServiceUnavailable"],
        kind: Kind,
        message: str,
        *,
        title: str,
        name: str = "",
    ) -> None:
        super().__init__(message)
        self.failure = Failure(
            reason=reason,
            message=message,
            code=code,
            details=Details(name=name, kind=kind.plural),
            title=title,
            detail=message,
        )
