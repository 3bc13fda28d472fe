"""Errors as problem+json (RFC 9457): what was asked, what is there, what to do."""

from __future__ import annotations

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from dicom_adapter.api.schemas import Problem
from dicom_adapter.core.errors import AdapterError

log = structlog.get_logger("api")

PROBLEM_JSON = "application/problem+json"


class ApiError(Exception):
    """An answer other than success."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail)
        self.problem = Problem(title=title, status=status, detail=detail)


def not_found(kind: str, text: str) -> ApiError:
    return ApiError(404, f"No such {kind}", f"There is no {kind} {text!r}. `clara dicom {kind}s` lists what there is.")


def install(app: FastAPI) -> None:
    """Answer every error as problem+json."""

    @app.exception_handler(ApiError)
    async def api_error(_request: Request, error: ApiError) -> JSONResponse:
        return _answer(error.problem)

    @app.exception_handler(AdapterError)
    async def not_now(_request: Request, error: AdapterError) -> JSONResponse:
        return _answer(Problem(title="Not possible now", status=503, detail=str(error)))

    @app.exception_handler(SQLAlchemyError)
    async def no_database(_request: Request, error: SQLAlchemyError) -> JSONResponse:
        log.error("the database did not serve a request", why=type(error).__name__)
        words = "The database cannot be used at this moment (locked, or its disk is full): try again."
        return _answer(Problem(title="Not possible now", status=503, detail=words))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        detail = f"{request.method} {request.url.path}: {error.detail}. /openapi.json lists every call."
        return _answer(Problem(title=str(error.detail), status=error.status_code, detail=detail))

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        found = "; ".join(f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors())
        return _answer(Problem(title="Invalid request", status=400, detail=found))


def _answer(problem: Problem) -> JSONResponse:
    return JSONResponse(problem.model_dump(by_alias=True), problem.status, media_type=PROBLEM_JSON)
