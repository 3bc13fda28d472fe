"""Errors as problem+json (RFC 9457): what was asked, what is there, what to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import structlog
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from dicom_adapter.api.json_body import BadBodyError, NotJsonError
from dicom_adapter.api.openapi import DescribedApi
from dicom_adapter.api.schemas import Problem
from dicom_adapter.config.invalid import in_words
from dicom_adapter.config.resources import InvalidResourceError
from dicom_adapter.config.store import AlreadyExistsError, ConflictError, NotFoundError, ReadOnlyError
from dicom_adapter.core.errors import AdapterError

log = structlog.get_logger("api")

METHOD_NOT_ALLOWED = 405
PROBLEM_JSON = "application/problem+json"

# What a route lets pass: each with the status and the title of its answer; the detail is the exception's own words.
_ANSWERS: Mapping[type[Exception], tuple[int, str]] = {
    BadBodyError: (400, "Invalid request"),
    NotJsonError: (415, "Unsupported Media Type"),
    InvalidResourceError: (400, "Invalid resource"),
    ReadOnlyError: (403, "Not to be changed here"),
    NotFoundError: (404, "No such resource"),
    AlreadyExistsError: (409, "Exists already"),
    ConflictError: (409, "Changed meanwhile"),
    AdapterError: (503, "Not possible now"),
}


class ApiError(Exception):
    """An answer other than success."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail)
        self.problem = Problem(title=title, status=status, detail=detail)


_LISTS = {"batch": "batches", "destination": "list destinations", "study": "studies"}


def not_found(kind: str, text: str) -> ApiError:
    """`kind`: association, batch, destination, export, job, study."""
    command = _LISTS.get(kind, f"{kind}s")
    return ApiError(
        404, f"No such {kind}", f"There is no {kind} {text!r}. `clara dicom {command}` lists what there is."
    )


def install(app: DescribedApi) -> None:
    """Answer every error as problem+json."""

    @app.exception_handler(ApiError)
    async def api_error(_request: Request, error: ApiError) -> JSONResponse:
        return _answer(error.problem)

    for raised, (status, title) in _ANSWERS.items():
        app.add_exception_handler(raised, _told(status, title))

    @app.exception_handler(SQLAlchemyError)
    async def no_database(_request: Request, error: SQLAlchemyError) -> JSONResponse:
        log.error("the database did not serve a request", why=type(error).__name__)
        words = "The database cannot be used at this moment (locked, or its disk is full): try again."
        return _answer(Problem(title="Not possible now", status=503, detail=words))

    @app.exception_handler(Exception)
    async def bug(_request: Request, _error: Exception) -> JSONResponse:  # the server logs it
        words = "This is an error in the adapter. Its log says more."
        return _answer(Problem(title="Internal error", status=500, detail=words))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        detail = f"{request.method} {request.url.path}: {error.detail}. /openapi.json lists every call."
        headers = dict(error.headers or {})
        if error.status_code == METHOD_NOT_ALLOWED and (methods := app.methods_of(request.url.path)):
            headers["Allow"] = ", ".join(methods)  # over all routes of the path: the framework names those of one
        return _answer(Problem(title=str(error.detail), status=error.status_code, detail=detail), headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        found = "; ".join(f"{'.'.join(map(str, one['loc']))}: {in_words(one)}" for one in error.errors())
        return _answer(Problem(title="Invalid request", status=400, detail=found))


def _told(status: int, title: str) -> Callable[[Request, Exception], Awaitable[JSONResponse]]:
    async def told(request: Request, error: Exception) -> JSONResponse:
        name = request.path_params.get("name") if isinstance(error, NotFoundError) else None
        words = f"{error}: {name!r}. The list shows the names, in metadata.name" if name else str(error)
        return _answer(Problem(title=title, status=status, detail=words))

    return told


def _answer(problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(problem.model_dump(by_alias=True), problem.status, headers, PROBLEM_JSON)
