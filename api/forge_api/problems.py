"""One shape for every error: application/problem+json (RFC 9457)."""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from forge_api.keyset import InvalidTokenError
from forge_api.store import GoldMissingError, StoreError, StoreTimeoutError

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 10
_URN = "urn:forge-observability:problem:"


class FieldError(BaseModel):
    """One thing wrong with the request."""

    field: str = Field(description="Where: `query.limit`, `path.key`.", examples=["query.limit"])
    message: str = Field(description="What is wrong with it.", examples=["Input should be less than or equal to 500"])


class Problem(BaseModel):
    """An error, as RFC 9457 describes it."""

    type: str = Field(
        description="What kind of problem: `about:blank` when the status says all.", examples=["about:blank"]
    )
    title: str = Field(description="The kind, in words.", examples=["Not Found"])
    status: int = Field(description="The HTTP status again.", examples=[404])
    detail: str = Field(description="What happened this time, and what to do.", examples=["there is no ticket ABC-1"])
    errors: list[FieldError] | None = Field(default=None, description="With 422: one element a wrong parameter.")
    missing: list[str] | None = Field(default=None, description="With 503: what the store lacks, e.g. `gold.tickets`.")


def problem(status: int, detail: str, kind: str | None = None, **more: Any) -> JSONResponse:
    """The response for one problem; `kind` names it when the status alone does not."""
    headers = more.pop("headers", None)
    body = Problem(
        type=_URN + kind if kind else "about:blank",
        title=kind.replace("-", " ").capitalize() if kind else HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        **more,
    )
    return JSONResponse(body.model_dump(exclude_none=True), status, headers, media_type=MEDIA_TYPE)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: these statuses answer with a Problem."""
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {s: {"description": HTTPStatus(s).phrase, "content": {MEDIA_TYPE: schema}} for s in statuses}


def install(app: FastAPI) -> None:
    """Makes every error of `app` a Problem, those of the framework included, and its document say so."""
    build_document = app.openapi

    def document() -> dict[str, Any]:
        built = build_document()
        schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        built["components"]["schemas"] |= schema.pop("$defs") | {"Problem": schema}
        return built

    app.openapi = cache(document)  # type: ignore[method-assign]

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        detail = error.detail
        if error.status_code == 404 and detail == HTTPStatus.NOT_FOUND.phrase:
            detail = f"there is nothing at {request.url.path}: see /docs"
        elif error.status_code == 405:
            detail = f"{request.url.path} does not take {request.method}"
        return problem(error.status_code, detail, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        errors = [FieldError(field=".".join(str(part) for part in e["loc"]), message=e["msg"]) for e in error.errors()]
        return problem(422, "; ".join(f"{e.field}: {e.message}" for e in errors), errors=errors)

    @app.exception_handler(InvalidTokenError)
    async def _token(request: Request, error: InvalidTokenError) -> JSONResponse:
        return problem(400, f"next: {error}", "invalid-page-token")

    @app.exception_handler(StoreError)
    async def _store(request: Request, error: StoreError) -> JSONResponse:
        retry = {"Retry-After": str(RETRY_SECONDS)}
        if isinstance(error, StoreTimeoutError):
            return problem(504, str(error), "store-too-slow")
        if isinstance(error, GoldMissingError):
            return problem(503, str(error), "gold-not-built", missing=error.missing, headers=retry)
        return problem(503, str(error), "store-unavailable", headers=retry)

    @app.exception_handler(Exception)
    async def _fault(request: Request, error: Exception) -> JSONResponse:
        # The server logs the traceback; the caller learns nothing of the inside.
        return problem(500, "a fault of this API: its log has the details at this time")
