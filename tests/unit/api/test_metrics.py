"""/metrics without a store: it answers all the same, and counts what was asked of the API."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from forge_api import metrics
from forge_api.app import create_app
from forge_api.auth import Tokens
from forge_api.store import GoldMissingError
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

ClientOf = Callable[..., httpx.AsyncClient]


async def scrape(client: httpx.AsyncClient) -> dict[tuple[str, ...], float]:
    """Name and label values (in the order of the names) to value."""
    response = await client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    samples = [sample for family in parse(response.text) for sample in family.samples]
    found = {(s.name, *(value for _, value in sorted(s.labels.items()))): s.value for s in samples}
    assert len(found) == len(samples), "a series is there twice"
    return found


def of_sources(found: dict[tuple[str, ...], float]) -> list[tuple[str, ...]]:
    return [key for key in found if key[0].startswith("forge_source_")]


async def test_it_needs_neither_token_nor_store_and_holds_no_secret(
    client_of: ClientOf, tmp_path: Path, dead_store: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "tokens").write_text("sesame\n")
    client = client_of(create_app(lambda: dead_store, Tokens(tmp_path / "tokens")))
    found = await scrape(client)
    assert found["forge_api_store_up",] == 0
    assert of_sources(found) == []
    text = (await client.get("/metrics")).text + caplog.text
    assert "hunter2" not in text and "sesame" not in text


async def test_requests_are_counted_by_template_and_status(client_of: ClientOf, dead_store: str) -> None:
    client = client_of(create_app(lambda: dead_store))
    asked = [
        "/healthz",
        "/healthz",
        "/openapi.json",
        "/api/v1/tickets/A-1",
        "/api/v1/tickets/A-2",
        "/no/A-1",
        "/no/A-2",
    ]
    for path in asked:
        await client.get(path)
    await client.get("/api/v1/platform?limit=0")
    await client.post("/api/v1/tickets")
    found = await scrape(client)
    expected = {
        ("/healthz", "200"): 2,
        ("/openapi.json", "200"): 1,
        ("/api/v1/tickets/{key}", "503"): 2,
        ("/api/v1/platform", "422"): 1,
        ("/api/v1/tickets", "405"): 1,
        ("other", "404"): 2,
    }
    assert {key[1:]: value for key, value in found.items() if key[0] == "forge_api_requests_total"} == expected
    histogram = "forge_api_request_duration_seconds"
    assert {key[1:]: value for key, value in found.items() if key[0] == f"{histogram}_count"} == expected
    assert 0 < found[f"{histogram}_sum", "/healthz", "200"] < 10
    assert found[f"{histogram}_bucket", "+Inf", "/healthz", "200"] == 2
    assert (await scrape(client))["forge_api_requests_total", "/metrics", "200"] == 1


async def test_each_application_counts_for_itself(client_of: ClientOf, dead_store: str) -> None:
    one, other = (client_of(create_app(lambda: dead_store)) for _ in range(2))
    await one.get("/healthz")
    assert ("forge_api_requests_total", "/healthz", "200") in await scrape(one)
    assert ("forge_api_requests_total", "/healthz", "200") not in await scrape(other)


class Failing:
    """A repository whose every method raises."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def fail(*args: Any) -> Any:
            raise self.error

        return fail


def failing(error: Exception) -> FastAPI:
    app = create_app(lambda: "")
    app.state.gold = Failing(error)
    return app


async def test_a_fault_of_this_program_does_not_fail_the_scrape(client_of: ClientOf) -> None:
    client = client_of(failing(RuntimeError("hunter2")))
    assert (await client.get("/api/v1/coverage")).status_code == 500
    found = await scrape(client)
    assert (found["forge_api_store_up",], of_sources(found)) == (0, [])
    assert found["forge_api_requests_total", "/api/v1/coverage", "500"] == 1


async def test_a_store_without_gold_is_up(client_of: ClientOf) -> None:
    found = await scrape(client_of(failing(GoldMissingError("not built", ["gold.coverage"]))))
    assert (found["forge_api_store_up",], of_sources(found)) == (1, [])


async def test_a_store_that_accepts_and_says_nothing_holds_no_scrape_up(
    client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "WAIT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = client_of(create_app(lambda: f"http://reader:hunter2@127.0.0.1:{silent.getsockname()[1]}"))
        begin = time.monotonic()
        found = await scrape(client)
        assert time.monotonic() - begin < 3
    assert (found["forge_api_store_up",], of_sources(found)) == (0, [])


async def test_prometheus_may_ask_for_openmetrics(client_of: ClientOf, dead_store: str) -> None:
    accept = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
    response = await client_of(create_app(lambda: dead_store)).get("/metrics", headers=accept)
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert "forge_api_store_up" in {family.name for family in parse_openmetrics(response.text)}
