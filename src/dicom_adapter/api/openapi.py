"""The OpenAPI document: what the framework cannot know of the answers is added here, so that the document is true."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, TypeAlias

from fastapi import FastAPI
from starlette.routing import compile_path

from dicom_adapter.api.schemas import Problem

# What the door and every route may answer, beside their own; and what others may.
_ANYWHERE = {
    400: "The request is not valid; the detail names what is wrong.",
    403: "The Host or Origin header names somebody else; or the resources are lists of the configuration file.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The body is not JSON, or is compressed.",
    503: "Not possible now: the database or another part is away. Try again.",
}
_MEANINGS = {
    **_ANYWHERE,
    401: "The bearer token is missing or wrong.",
    404: "There is no such thing.",
    409: "It is not in a state in which this can be done, or somebody else was faster.",
}


Responses: TypeAlias = dict[int | str, dict[str, Any]]


def answer(status: int, model: Any, description: str = "Done.") -> Responses:
    """`responses` of a route: an answer that the route makes itself."""
    return {status: {"model": model, "description": description}}


def problems(*statuses: int) -> Responses:
    """`responses` of a route: the errors that it may answer with, beside those that every route may."""
    schema = {"$ref": "#/components/schemas/Problem"}
    content = {"application/problem+json": {"schema": schema}}
    return {status: {"description": _MEANINGS[status], "content": content} for status in statuses}


def takes(schema: dict[str, Any], example: object = None) -> dict[str, Any]:
    """`openapi_extra` of a route that reads a JSON body itself."""
    media: dict[str, Any] = {"schema": schema}
    if example is not None:
        media["example"] = example
    return {"requestBody": {"required": True, "content": {"application/json": media}}}


class DescribedApi(FastAPI):
    """FastAPI, with a document that tells of the door as well. `asks_token`: whether there is a lock on it."""

    def __init__(self, *, asks_token: bool, **settings: Any) -> None:
        super().__init__(**settings)
        self._asks_token = asks_token
        self._document: dict[str, Any] = {}

    def openapi(self) -> dict[str, Any]:
        """The whole document."""
        if not self._document:
            self._document = self._described(copy.deepcopy(super().openapi()))
        return self._document

    def methods_of(self, path: str) -> list[str]:
        """The methods that a path has."""
        paths = self.openapi()["paths"]
        found = [paths[shape] for shape in paths if compile_path(shape)[0].fullmatch(path)]
        return sorted({method.upper() for operations in found for method in operations})

    def _described(self, document: dict[str, Any]) -> dict[str, Any]:
        components = document.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        schemas["Problem"] = Problem.model_json_schema(by_alias=True)
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        if self._asks_token:
            components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path, operation in _operations(document):
            for parameter in operation.get("parameters", ()):
                _without_null(parameter)
            responses = operation["responses"]
            responses.pop("422", None)  # an invalid request is a 400 here
            for status, response in problems(*_ANYWHERE).items():
                responses.setdefault(str(status), response)
            if self._asks_token and not path.startswith("/health/"):
                operation["security"] = [{"token": []}]
                responses.update({"401": problems(401)[401]})
        return document


def _without_null(parameter: dict[str, Any]) -> None:
    """What may be left out is `null` to the framework, and can be no such thing in a path, a query or a header."""
    options = [option for option in parameter["schema"].pop("anyOf", ()) if option != {"type": "null"}]
    for option in options:
        parameter["schema"].update(option)


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for operation in operations.values():
            yield path, operation
