"""/api/v1/claraaetitles, sources, destinations: what the nine specified calls lack (one, replace, filters).

A body is a resource as it is read here, so that who changes one sends back what was read; `metadata.resourceVersion` or
If-Match then says which one was seen, and the answer is 409 where somebody else was faster.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from dicom_adapter.api import schemas
from dicom_adapter.api.json_body import json_object
from dicom_adapter.api.kubernetes import LISTS, RESOURCES, Success, deleted, spec_schema
from dicom_adapter.api.openapi import answer, problems, takes
from dicom_adapter.api.view import View
from dicom_adapter.config.resources import (
    API_VERSION,
    InvalidResourceError,
    Kind,
    Resource,
    as_json,
    list_as_json,
    resource_name,
    wrong_fields,
)

IfMatch = Annotated[
    str,
    Header(description='The ETag of the resource that is to be replaced: "12"; or *.', pattern=r'^(\*|"[^"]+")$'),
]


class Filters(schemas.Parameters):
    """Of several, all must fit. AE Titles are compared exactly."""

    ae_title: str | None = None
    host_ip: str | None = None
    pipeline_id: str | None = None

    def fits(self, resource: Resource) -> bool:
        """Whether a resource is to be shown."""
        spec = resource.spec
        return (
            self.ae_title in (None, spec.ae_title)
            and self.host_ip in (None, getattr(spec, "host_ip", None))
            and (self.pipeline_id is None or self.pipeline_id in getattr(spec, "pipeline_ids", ()))
        )


class _Metadata(BaseModel):
    """The part of a body's metadata that is looked at; the rest is what the store once answered."""

    model_config = ConfigDict(extra="ignore", alias_generator=to_camel)

    name: str | None = None
    resource_version: str | None = None


class _Body(BaseModel):
    """A resource as it is sent. Its status is the adapter's own, and not looked at."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)

    api_version: Literal["dicom.clara.nvidia.com/v1beta2"] = "dicom.clara.nvidia.com/v1beta2"
    kind: Kind
    metadata: _Metadata = _Metadata()
    spec: dict[str, Any]
    status: Any = None


def router(view: View) -> APIRouter:
    """The routes of every kind."""
    routes = APIRouter(prefix="/api/v1", tags=["resources"])
    for kind in Kind:
        _add(routes, view, kind)
    return routes


def _add(routes: APIRouter, view: View, kind: Kind) -> None:
    path = f"/{kind.plural}"
    resource = answer(200, RESOURCES[kind])
    body = takes(_body_schema(kind))

    @routes.get(path, name=f"list {kind.plural}", responses=answer(200, LISTS[kind]))
    async def list_(filters: Annotated[Filters, Query()]) -> JSONResponse:
        """Every resource of the kind that fits, in the order in which they were made."""
        store = view.resources(kind)
        version = await store.version()
        found = [one for one in await store.list(kind) if filters.fits(one)]
        return JSONResponse(list_as_json(kind, found, version))

    @routes.get(path + "/{name}", name=f"get {kind}", responses={**resource, **problems(404)})
    async def get(name: str) -> JSONResponse:
        """One by its metadata.name. Its ETag is for If-Match."""
        return _answer(await view.resources(kind).get(kind, name))

    @routes.post(
        path,
        name=f"create {kind}",
        status_code=201,
        responses={**answer(201, RESOURCES[kind]), **problems(409)},
        openapi_extra=body,
    )
    async def create(request: Request) -> JSONResponse:
        """Make one. Its metadata.name is made of its name, or of the AE Title of a source."""
        wanted = _read(kind, await json_object(request))
        made = await view.resources(kind).create(kind, wanted.spec)
        view.wake()
        return _answer(made, 201, {"Location": f"/api/v1{path}/{made.metadata.name}"})

    @routes.put(
        path + "/{name}",
        name=f"replace {kind}",
        responses={**resource, **problems(404, 409)},
        openapi_extra=body,
    )
    async def replace(name: str, request: Request, if_match: IfMatch = "*") -> JSONResponse:
        """Put a spec in place of the whole one. Associations under way end by the rules they began with."""
        wanted = _read(kind, await json_object(request), name)
        made = await view.resources(kind).replace(kind, name, wanted.spec, resource_version=_seen(if_match, wanted))
        view.wake()
        return _answer(made)

    @routes.delete(path + "/{name}", name=f"delete {kind}", responses=problems(404))
    async def delete(name: str) -> Success:
        """Remove one by its metadata.name. A Clara AE Title that is collecting submits what it has."""
        gone = await view.resources(kind).delete(kind, name)
        view.wake()
        return deleted(gone)


def _answer(resource: Resource, status: int = 200, headers: Mapping[str, str] | None = None) -> JSONResponse:
    etag = {"ETag": f'"{resource.metadata.resource_version}"'}
    return JSONResponse(as_json(resource), status, {**etag, **(headers or {})})


def _read(kind: Kind, value: dict[str, Any], name: str | None = None) -> _Body:
    """The body of a resource that is to have this name, or the name that its spec gives it."""
    try:
        body = _Body.model_validate({"kind": kind, **value})
    except ValidationError as error:
        raise InvalidResourceError(wrong_fields(kind, error)) from None
    if body.kind is not kind:
        raise InvalidResourceError(f"kind: {body.kind}, and this path takes {kind}")
    given = body.metadata.name
    if name is None and isinstance(named := body.spec.get(_NAMED_BY[kind], body.spec.get("aeTitle")), str):
        name = resource_name(named)
    if given is not None and name is not None and given != name.lower():
        raise InvalidResourceError(f"metadata.name: {given!r}, and here it is {name!r}: leave it out")
    return body


_NAMED_BY = {kind: "aeTitle" if kind is Kind.SOURCE else "name" for kind in Kind}


def _seen(if_match: str, body: _Body) -> str | None:
    """The resourceVersion that the client saw; None where it says nothing of it."""
    return body.metadata.resource_version if if_match == "*" else if_match.strip('"')


def _body_schema(kind: Kind) -> dict[str, Any]:
    """What `_read` takes, as JSON Schema. Of metadata, a name is that which the spec gives, or the path."""
    version = {"type": ["string", "null"]}
    return {
        "type": "object",
        "required": ["spec"],
        "additionalProperties": False,
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": kind.value},
            "metadata": {"type": "object", "properties": {"resourceVersion": version}},
            "spec": spec_schema(kind),
            "status": {},
        },
    }
