"""The configuration resources: the nine specified calls (12.1.6).

Bodies and answers are Kubernetes' JSON, the same from every store, so that scripts written for the original go on
working whether the resources are in our database or in the configuration file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError

from dicom_adapter.api.json_body import BadBodyError, json_object
from dicom_adapter.api.kubernetes import LISTS, RESOURCES, Failure, StatusError, Success, deleted, spec_schema
from dicom_adapter.api.openapi import answer, takes
from dicom_adapter.api.paths import ANY_CASE
from dicom_adapter.api.view import View
from dicom_adapter.config.resources import InvalidResourceError, Kind, as_json, list_as_json
from dicom_adapter.config.store import AlreadyExistsError, NotFoundError, ReadOnlyError
from dicom_adapter.core.errors import AdapterError

_PATHS = {  # as the specification prints them
    Kind.CLARA_AE_TITLE: "claraaetitle",
    Kind.SOURCE: "sourceaetitle",
    Kind.DESTINATION: "destinationaetitle",
}
# contract 3.4, without its misspelling
_INVALID = {
    Kind.CLARA_AE_TITLE: "Invalid Clara (local) AE Title specs provided or AE Title already exists",
    Kind.SOURCE: "Invalid source AE Title specs provided or name already exists",
    Kind.DESTINATION: "Invalid destination specs provided or name already exists",
}
_EXAMPLES = {  # 12.1.6.4.3, 12.1.6.5.3, 12.1.6.6.3
    Kind.CLARA_AE_TITLE: {
        "name": "clara-brain-tumor",
        "pipelineId": "7b9cda79ed834fdc87cd4169216c4011",
        "aeTitle": "BrainTumorModel",
        "timeout": 0,
    },
    Kind.SOURCE: {"hostIp": "1.2.3.4", "aeTitle": "Orthanc"},
    Kind.DESTINATION: {"name": "pacs", "hostIp": "10.20.30.40", "aeTitle": "ARCHIVEX", "port": 104},
}
_NOT_NOW = answer(503, Failure, "The store is away, or is the configuration file.")
_NOT_MADE = answer(400, Failure, "Exists already, or is invalid.")


def install(app: FastAPI) -> None:
    """Answer a StatusError as what it holds."""

    @app.exception_handler(StatusError)
    async def failed(_request: Request, error: StatusError) -> JSONResponse:
        return JSONResponse(error.failure.model_dump(), error.failure.code)


def router(view: View) -> APIRouter:
    """The routes of every kind."""
    routes = APIRouter(tags=["configuration"], responses=_NOT_NOW)
    for kind in Kind:
        _add(routes, view, kind, ANY_CASE + _PATHS[kind])
    return routes


def _add(routes: APIRouter, view: View, kind: Kind, path: str) -> None:
    @routes.get(path, name=f"list {kind}", responses=answer(200, LISTS[kind]))
    async def list_() -> JSONResponse:
        """Every resource of the kind, in the form of a Kubernetes list."""
        with _told_as_status(kind):
            store = view.resources(kind)
            version = await store.version()
            return JSONResponse(list_as_json(kind, await store.list(kind), version))

    @routes.post(
        path,
        name=f"create {kind}",
        responses={**answer(200, RESOURCES[kind]), **_NOT_MADE},
        openapi_extra=takes(spec_schema(kind), _EXAMPLES[kind]),
    )
    async def create(request: Request) -> JSONResponse:
        """Make one from the fields of its spec."""
        with _told_as_status(kind):
            body = await json_object(request)
            made = await view.resources(kind).create(kind, body)
            view.wake()
            return JSONResponse(as_json(made))

    @routes.delete(
        path + "/{name}", name=f"delete {kind}", responses=answer(404, Failure, "No resource has this name.")
    )
    async def delete(name: str) -> Success:
        """Remove one by its metadata.name. A body is not looked at."""
        with _told_as_status(kind, name):
            gone = await view.resources(kind).delete(kind, name)
            view.wake()
            return deleted(gone)


@contextmanager
def _told_as_status(kind: Kind, name: str = "") -> Iterator[None]:
    """What a store or a body does not allow, as a Failure in words."""
    invalid = _INVALID[kind]
    try:
        yield
    except BadBodyError as error:
        raise StatusError(400, "BadRequest", kind, str(error), title=invalid) from None
    except InvalidResourceError as error:
        words = f"{str(error).removesuffix('.')}. Correct the field and send it again"
        raise StatusError(400, "Invalid", kind, words, title=invalid) from None
    except AlreadyExistsError as error:
        words = f"{error}: delete that one first, or choose another"
        raise StatusError(400, "AlreadyExists", kind, words, title=invalid) from None
    except NotFoundError as error:
        words = f"{error}: {name!r}. The list shows the names, in metadata.name"
        raise StatusError(404, "NotFound", kind, words, title=f"No such {kind}", name=name) from None
    except ReadOnlyError as error:
        title = "Reading AE Titles from Kubernetes CRD is not enabled."
        raise StatusError(503, "ServiceUnavailable", kind, str(error), title=title) from None
    except (SQLAlchemyError, AdapterError) as error:
        words = str(error) if isinstance(error, AdapterError) else "the database cannot be used now: try again"
        raise StatusError(503, "ServiceUnavailable", kind, words, title="The store is away") from None
