"""Every error of every route has one shape: the one that the OpenAPI document promises."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from forge_api.app import create_app
from forge_api.auth import Tokens
from forge_api.listings import ENTITIES, SERIES, TIMELINE
from forge_api.problems import MEDIA_TYPE, Problem
from forge_api.store import GoldMissingError, StoreTimeoutError

DOCUMENT: dict[str, Any] = create_app(lambda: "").openapi()
ROUTES = [(path, route["get"]) for path, route in DOCUMENT["paths"].items()]
GUARDED = [(path, route) for path, route in ROUTES if path.startswith("/api/")]
ASKING = [(path, route) for path, route in ROUTES if path != "/healthz"]


def name(value: Any) -> str:
    return value if isinstance(value, str) else ""


ClientOf = Callable[..., httpx.AsyncClient]


def guarded_app(folder: Path, dsn: str) -> FastAPI:
    tokens = folder / "tokens"
    tokens.write_text("sesame\n")
    return create_app(lambda: dsn, Tokens(tokens))


def concrete(path: str) -> str:
    return path.replace("{key}", "PAY-1")


def assert_problem(response: httpx.Response, status: int, route: dict[str, Any] | None = None) -> Problem:
    assert response.status_code == status
    assert response.headers["content-type"] == MEDIA_TYPE
    problem = Problem.model_validate_json(response.content, strict=True)
    assert problem.status == status
    assert problem.title and problem.detail
    if route is not None:
        documented = route["responses"][str(status)]["content"]
        assert documented == {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return problem


def test_there_are_routes_to_test() -> None:
    assert {path for path, _ in GUARDED} == {
        "/api/v1/tickets",
        "/api/v1/tickets/{key}",
        "/api/v1/summary",
        "/api/v1/coverage",
        "/api/v1/platform",
        "/api/v1/metrics",
        "/api/v1/costs",
        "/api/v1/approvals/funnel",
        *(f"/api/v1{listing.path}" for listing in (*SERIES, *ENTITIES, TIMELINE)),
    }
    assert {"Problem", "FieldError"} <= set(DOCUMENT["components"]["schemas"])
    references = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(DOCUMENT)))
    assert references <= set(DOCUMENT["components"]["schemas"])
    assert "HTTPValidationError" not in str(DOCUMENT["paths"]), "a route documents the framework's error shape"


@pytest.mark.parametrize(("path", "route"), GUARDED, ids=name)
async def test_401(path: str, route: dict[str, Any], client_of: ClientOf, tmp_path: Path, dead_store: str) -> None:
    app = guarded_app(tmp_path, dead_store)
    assert route["security"] == [{"HTTPBearer": []}]
    for token, challenge in ((None, "Bearer"), ("wrong", 'Bearer error="invalid_token"')):
        response = await client_of(app, token).get(concrete(path))
        assert_problem(response, 401, route)
        assert response.headers["www-authenticate"] == challenge


@pytest.mark.parametrize(("path", "route"), ASKING, ids=name)
async def test_503_when_the_store_is_away(
    path: str, route: dict[str, Any], client_of: ClientOf, tmp_path: Path, dead_store: str, caplog: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    response = await client_of(guarded_app(tmp_path, dead_store), "sesame").get(concrete(path))
    problem = assert_problem(response, 503, route)
    assert problem.type.endswith(":store-unavailable")
    assert int(response.headers["retry-after"]) > 0
    assert "hunter2" not in response.text + caplog.text


@pytest.mark.parametrize(
    "dsn", ["clickhouse+http://reader:hunter2@127.0.0.1:9", "postgresql://reader:hunter2@127.0.0.1:9/x"]
)
async def test_503_with_every_driver(dsn: str, client_of: ClientOf, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    response = await client_of(create_app(lambda: dsn)).get("/api/v1/tickets")
    assert_problem(response, 503)
    assert "hunter2" not in response.text + caplog.text


@pytest.mark.parametrize("dsn", ["", "hunter2", "nosuchdialect://u:hunter2@h/", "http://u:hunter2@h:port"])
async def test_503_for_a_dsn_that_is_none(dsn: str, client_of: ClientOf, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    response = await client_of(create_app(lambda: dsn)).get("/readyz")
    assert "DSN" in assert_problem(response, 503).detail
    assert "hunter2" not in response.text + caplog.text


class Failing:
    """A repository whose every method raises."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def fail(*args: Any) -> Any:
            raise self.error

        return fail


@pytest.mark.parametrize(("path", "route"), GUARDED, ids=name)
async def test_500_tells_nothing_of_the_inside(path: str, route: dict[str, Any], client_of: ClientOf) -> None:
    app = create_app(lambda: "")
    app.state.gold = Failing(RuntimeError("hunter2"))
    response = await client_of(app).get(concrete(path))
    assert_problem(response, 500, route)
    assert "hunter2" not in response.text


@pytest.mark.parametrize(("path", "route"), ASKING, ids=name)
async def test_504_and_gold_that_is_not_built(path: str, route: dict[str, Any], client_of: ClientOf) -> None:
    app = create_app(lambda: "")
    app.state.gold = Failing(StoreTimeoutError("slow"))
    assert_problem(await client_of(app).get(concrete(path)), 504, route)
    app.state.gold = Failing(GoldMissingError("not built", ["gold.tickets"]))
    problem = assert_problem(await client_of(app).get(concrete(path)), 503, route)
    assert problem.missing == ["gold.tickets"]


@pytest.mark.parametrize("path", [path for path, _ in ROUTES])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_405(path: str, method: str, client_of: ClientOf) -> None:
    response = await client_of(create_app(lambda: "")).request(method, concrete(path))
    assert_problem(response, 405)
    assert "GET" in response.headers["allow"]


@pytest.mark.parametrize(
    "path", ["/nope", "/api/v1/nope", "/api/v2/tickets", "/api/v1/tickets/a/b", "/docs/files/nope"]
)
async def test_404(path: str, client_of: ClientOf) -> None:
    assert_problem(await client_of(create_app(lambda: "")).get(path), 404)


BAD = [
    ("tickets?limit=0", "query.limit"),
    ("tickets?limit=501", "query.limit"),
    ("tickets?limit=many", "query.limit"),
    ("tickets?projct=PAY", "query.projct"),
    ("tickets?sort=summary", "query.sort"),
    ("tickets?sort=--cost_usd", "query.sort"),
    ("tickets?status_category=finished", "query.status_category.0"),
    ("tickets?created_after=yesterday", "query.created_after"),
    ("tickets?created_after=0001-01-01", "query.created_after"),
    ("tickets?created_before=9999-12-31T23:59:59-12:00", "query.created_before"),
    ("tickets?min_cost=-1", "query.min_cost"),
    ("tickets?min_cost=NaN", "query.min_cost"),
    ("tickets?min_cost=0.0000000000001", "query.min_cost"),
    ("tickets?min_cost=1e40", "query.min_cost"),
    ("tickets?has_pull_request=perhaps", "query.has_pull_request"),
    ("tickets?search=%00", "query.search"),
    (f"tickets?search={'x' * 201}", "query.search"),
    ("tickets/%00", "path.key"),
    ("platform?limit=5001", "query.limit"),
    ("platform?after=x", "query.after"),
    ("platform?metrics=a", "query.metrics"),
]


@pytest.mark.parametrize(("path", "field"), BAD, ids=name)
async def test_422_names_the_parameter(path: str, field: str, client_of: ClientOf) -> None:
    route = DOCUMENT["paths"]["/api/v1/" + path.split("?")[0].replace("tickets/%00", "tickets/{key}")]["get"]
    problem = assert_problem(await client_of(create_app(lambda: "")).get(f"/api/v1/{path}"), 422, route)
    assert [error.field for error in problem.errors or []] == [field]
    assert field in problem.detail


@pytest.mark.parametrize("path", ["tickets", "platform"])
async def test_400_for_a_token_from_elsewhere(path: str, client_of: ClientOf, dead_store: str) -> None:
    response = await client_of(create_app(lambda: dead_store)).get(f"/api/v1/{path}", params={"next": "abc"})
    problem = assert_problem(response, 400, DOCUMENT["paths"][f"/api/v1/{path}"]["get"])
    assert problem.detail.startswith("next: ")


async def test_health_and_page_need_neither_token_nor_store(
    client_of: ClientOf, tmp_path: Path, dead_store: str
) -> None:
    client = client_of(guarded_app(tmp_path, dead_store))
    for path in ("/healthz", "/", "/app.js", "/style.css", "/docs", "/openapi.json"):
        assert (await client.get(path)).status_code == 200, path
