"""The API over real stores: what goes over the wire."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import httpx
import pytest
from forge_api import queries
from forge_api.app import create_app
from prometheus_client.parser import text_string_to_metric_families

from .conftest import Backend, Row, refill

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def client(dsn: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(create_app(lambda: dsn)), base_url="http://api")


@pytest.fixture
async def api(backend: Backend) -> AsyncIterator[httpx.AsyncClient]:
    async with client(backend.dsn) as made:
        yield made


async def test_ready(api: httpx.AsyncClient) -> None:
    response = await api.get("/readyz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


async def test_the_metrics_tell_of_requests_and_sources(api: httpx.AsyncClient, rows: dict[str, list[Row]]) -> None:
    for path in ("tickets?limit=1", "tickets?limit=2", "tickets/PAY-999999", "coverage"):
        await api.get(f"/api/v1/{path}")
    families = list(text_string_to_metric_families((await api.get("/metrics")).text))
    samples = [(s.name, s.labels, s.value) for family in families for s in family.samples]
    counted = {(labels["route"], labels["status"]): v for n, labels, v in samples if n == "forge_api_requests_total"}
    assert counted == {
        ("/api/v1/tickets", "200"): 2,
        ("/api/v1/tickets/{key}", "404"): 1,
        ("/api/v1/coverage", "200"): 1,
    }
    assert ("forge_api_store_up", {}, 1) in samples
    for row in rows["coverage"]:
        labels = {"source": row["source"], "type": row["type"]}
        assert ("forge_source_rows", labels, row["rows"]) in samples
        if row["newest_event_at"]:
            newest = ("forge_source_newest_event_timestamp_seconds", labels, row["newest_event_at"].timestamp())
            assert newest in samples


async def test_the_link_leads_through_all_pages(api: httpx.AsyncClient, rows: dict[str, list[Row]]) -> None:
    url = "/api/v1/tickets?limit=9&sort=-lead_time_seconds&project=PAY&project=web"
    keys: list[str] = []
    while url:
        response = await api.get(url)
        assert response.status_code == 200
        keys += [item["ticket_key"] for item in response.json()["items"]]
        link = response.links.get("next")
        assert (link is None) == (response.json()["next"] is None)
        url = str(response.url.join(link["url"])) if link else ""
    expected = {row["ticket_key"] for row in rows["tickets"] if row["project_key"] in ("PAY", "web")}
    assert len(keys) == len(set(keys)) and set(keys) == expected


async def test_money_is_exact_and_times_are_rfc_3339(api: httpx.AsyncClient, rows: dict[str, list[Row]]) -> None:
    items = {item["ticket_key"]: item for item in (await api.get("/api/v1/tickets?limit=500")).json()["items"]}
    assert len(items) == len(rows["tickets"])
    for row in rows["tickets"]:
        item = items[row["ticket_key"]]
        if row["cost_usd"] is not None:
            assert isinstance(item["cost_usd"], str)
            assert Decimal(item["cost_usd"]) == row["cost_usd"]
            assert "E" not in item["cost_usd"] and not re.search(r"\.\d*0$", item["cost_usd"])
        if row["created_at"] is not None:
            assert RFC_3339.fullmatch(item["created_at"])
        assert item["summary"] == row["summary"]


async def test_one_ticket(api: httpx.AsyncClient, rows: dict[str, list[Row]]) -> None:
    row = next(row for row in rows["tickets"] if row["traces"])
    found = (await api.get(f"/api/v1/tickets/{row['ticket_key']}")).json()
    assert found["ticket"]["ticket_key"] == row["ticket_key"]
    assert sum(Decimal(cost["cost_usd"]) for cost in found["costs"]) == row["cost_usd"]
    missing = await api.get("/api/v1/tickets/PAY-999999")
    assert (missing.status_code, missing.json()["detail"]) == (404, "there is no ticket PAY-999999")


async def test_the_summary_adds_up(api: httpx.AsyncClient, rows: dict[str, list[Row]]) -> None:
    summary = (await api.get("/api/v1/summary")).json()
    cost = summary["cost"]
    costs = rows["ticket_costs"]
    assert Decimal(cost["total_usd"]) == sum(row["cost_usd"] for row in costs)
    assert Decimal(cost["attributed_usd"]) == sum(row["cost_usd"] for row in costs if row["ticket_key"])
    assert Decimal(cost["unattributed_usd"]) == sum(row["cost_usd"] for row in costs if not row["ticket_key"])
    assert Decimal(cost["total_usd"]) == sum(Decimal(row["cost_usd"]) for row in summary["by_stage_and_model"])
    done = [row["cost_usd"] for row in rows["tickets"] if row["is_done"] and row["traces"]]
    assert cost["done_tickets"] == len(done)
    assert abs(Decimal(cost["per_done_ticket_usd"]) - sum(done) / len(done)) < Decimal("1e-11")
    assert sum(project["tickets"] for project in summary["by_project"]) == summary["tickets"] == len(rows["tickets"])
    assert [source["source"] for source in summary["coverage"]] == ["jira", "langfuse", "metrics"]


async def test_the_total_counts_groups_that_are_not_listed(
    api: httpx.AsyncClient, rows: dict[str, list[Row]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "MAX_GROUPS", 1)
    summary = (await api.get("/api/v1/summary")).json()
    assert len(summary["by_stage_and_model"]) == 1
    assert Decimal(summary["cost"]["total_usd"]) == sum(row["cost_usd"] for row in rows["ticket_costs"])
    unattributed = sum(row["cost_usd"] for row in rows["ticket_costs"] if not row["ticket_key"])
    assert Decimal(summary["cost"]["unattributed_usd"]) == unattributed


async def test_gold_without_rows_is_zeros_and_nulls(
    backend: Backend, api: httpx.AsyncClient, rows: dict[str, list[Row]]
) -> None:
    refill(backend, {table: [] for table in rows})
    try:
        summary = (await api.get("/api/v1/summary")).json()
        tickets = (await api.get("/api/v1/tickets")).json()
        ready = await api.get("/readyz")
    finally:
        refill(backend, rows)
    assert tickets == {"items": [], "next": None}
    assert ready.status_code == 200
    nothing = {"total_usd": None, "attributed_usd": None, "unattributed_usd": None, "per_done_ticket_usd": None}
    assert summary == {
        "tickets": 0,
        "done": 0,
        "lead_time": {"tickets": 0, "median_seconds": None, "p75_seconds": None, "p90_seconds": None},
        "cost": nothing | {"done_tickets": 0},
        "by_project": [],
        "by_stage_and_model": [],
        "coverage": [],
    }


@pytest.mark.parametrize("path", ["tickets", "tickets/{key}", "summary", "coverage", "platform"])
async def test_an_answer_known_already_is_304(api: httpx.AsyncClient, rows: dict[str, list[Row]], path: str) -> None:
    url = f"/api/v1/{path.format(key=rows['tickets'][0]['ticket_key'])}"
    tag = (await api.get(url)).headers["etag"]
    again = await api.get(url, headers={"If-None-Match": f'"other", {tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert (await api.get(url, headers={"If-None-Match": '"other"'})).status_code == 200


@pytest.mark.parametrize("text", ["'; drop table gold.tickets; --", "\\' or 1=1 --", "%s %(a)s {b:String} ?", "☃" * 50])
async def test_text_is_never_sql(api: httpx.AsyncClient, text: str) -> None:
    for parameter in ("project", "search", "assignee", "issue_type"):
        response = await api.get("/api/v1/tickets", params={parameter: text})
        assert (response.status_code, response.json()["items"]) == (200, [])
    assert (await api.get("/api/v1/tickets?limit=1")).json()["items"]


async def test_every_store_gives_the_same_answer(backends: list[Backend]) -> None:
    urls = [
        "/api/v1/summary",
        "/api/v1/coverage",
        "/api/v1/platform?limit=7",
        "/api/v1/tickets?limit=20&sort=-cost_usd",
        "/api/v1/tickets?created_after=2026-09-05&has_pull_request=true&min_cost=0.000000000001",
    ]
    for url in urls:
        answers: list[Any] = []
        for backend in backends:
            async with client(backend.dsn) as api:
                response = await api.get(url)
                assert response.status_code == 200, (backend.name, response.text)
                answers.append(response.json())
        assert all(answer == answers[0] for answer in answers), url
