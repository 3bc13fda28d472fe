"""Kubernetes' `Status` object, which answers a DELETE and every error of the configuration resources (contract 3.3).

A failure also has the `title` and `detail` that the original's problem documents had (contract 3.4), in the same words.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from dicom_adapter.config.resources import GROUP, Kind, Resource


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
