"""Lists, costs and funnel over real stores: what comes back is what the rows say, computed here in plain Python."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from datetime import date, datetime
from decimal import Decimal
from itertools import combinations
from typing import Any

import httpx
import pytest
from forge_api import queries
from forge_api.app import create_app
from forge_api.listings import ENTITIES, SERIES, Listing, column_of, parameter
from forge_api.models import plain_digits

from .conftest import Backend, Row, refill

Rows = dict[str, list[Row]]
LISTS = pytest.mark.parametrize("listing", [*SERIES, *ENTITIES], ids=lambda listing: listing.path)


@pytest.fixture
async def api(backend: Backend) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(lambda: backend.dsn))
    async with httpx.AsyncClient(transport=transport, base_url="http://api/api/v1") as made:
        yield made


async def walk(api: httpx.AsyncClient, path: str, parameters: dict[str, Any], limit: int = 7) -> list[Row]:
    """All pages."""
    found: list[Row] = []
    token = None
    while True:
        answer = await api.get(path, params={**parameters, "limit": limit} | ({"next": token} if token else {}))
        assert answer.status_code == 200, answer.text
        found += answer.json()["items"]
        token = answer.json()["next"]
        assert (token is None) == ("next" not in answer.links)
        if token is None:
            return found


def shown(listing: Listing, row: Row) -> Row:
    """A row as JSON tells it."""
    return {column.name: plain(row[column.name]) for column in listing.columns()}


def plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return plain_digits(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, date) else value


def same(answers: Iterable[Row]) -> list[str]:
    """Rows to compare, in whatever order: floats and times differ in their last written digits only."""
    return sorted(json.dumps({k: _time(v) for k, v in row.items()}, sort_keys=True) for row in answers)


def _time(value: Any) -> Any:
    return value.replace(".000000Z", "Z").replace("000Z", "Z") if isinstance(value, str) else value


def by_default(listing: Listing, row: Row) -> bool:
    """What a list shows when nothing is asked for."""
    return (
        row.get("period", "week") == "week"
        and row.get("scope", "all") == "all"
        and all(row[name] == "" for name in listing.breakdowns)
    )


def place(listing: Listing, row: Row) -> tuple[Any, ...]:
    """The row's place in the order; nulls last in either direction."""

    def part(name: str) -> tuple[bool, Any]:
        value = row[name.removeprefix("-")]
        if value is None:
            return (True, 0)
        if isinstance(value, str):
            return (False, value.encode())
        if isinstance(value, date):
            value = value.timestamp() if isinstance(value, datetime) else value.toordinal()
        return (False, -value if name.startswith("-") else value)

    return tuple(part(name) for name in listing.order)


@LISTS
async def test_pages_join_to_the_whole_in_order(api: httpx.AsyncClient, rows: Rows, listing: Listing) -> None:
    wanted = [row for row in rows[listing.table.name] if by_default(listing, row)]
    assert wanted
    expected = [shown(listing, row) for row in sorted(wanted, key=lambda row: place(listing, row))]
    found = await walk(api, listing.path, {})
    assert [same([row]) for row in found] == [same([row]) for row in expected]


@LISTS
async def test_each_filter_leaves_its_rows(api: httpx.AsyncClient, rows: Rows, listing: Listing) -> None:
    everything = rows[listing.table.name]
    for name in listing.filters:
        value = next(row[name] for row in everything if row[name] not in (None, ""))
        question: dict[str, Any] = {parameter(name): value if not isinstance(value, bool) else str(value).lower()}
        if name == "scope_value":
            question["scope"] = "team"
        scope = question.get("scope", "all")
        expected = [
            row
            for row in everything
            if row[name] == value
            and row.get("period", "week") == "week"
            and row.get("scope", scope) == scope
            and all(row[other] == "" for other in listing.breakdowns if other != name)
        ]
        found = await walk(api, listing.path, question, limit=1000)
        assert same(found) == same(shown(listing, row) for row in expected), name


@pytest.mark.parametrize("listing", [s for s in SERIES if s.breakdowns], ids=lambda listing: listing.path)
async def test_a_breakdown_leaves_the_row_over_all_out(api: httpx.AsyncClient, rows: Rows, listing: Listing) -> None:
    (name,) = listing.breakdowns
    found = await walk(api, listing.path, {"by": name, "period": "day"}, limit=1000)
    kept = [r for r in rows[listing.table.name] if r["period"] == "day" and r["scope"] == "all" and r[name] != ""]
    assert same(found) == same(shown(listing, row) for row in kept) != []


@pytest.mark.parametrize("listing", [*SERIES[:2], *ENTITIES[:2]], ids=lambda listing: listing.path)
async def test_a_window_takes_its_begin_and_leaves_its_end(
    api: httpx.AsyncClient, rows: Rows, listing: Listing
) -> None:
    assert listing.time is not None
    moments = sorted({row[listing.time] for row in rows[listing.table.name] if row[listing.time] is not None})
    after, before = moments[2], moments[-2]
    expected = [
        row
        for row in rows[listing.table.name]
        if by_default(listing, row) and row[listing.time] is not None and after <= row[listing.time] < before
    ]
    found = await walk(api, listing.path, {"after": after.isoformat(), "before": before.isoformat()}, limit=1000)
    assert same(found) == same(shown(listing, row) for row in expected)


async def test_an_empty_value_asks_for_rows_without(api: httpx.AsyncClient, rows: Rows) -> None:
    (changes,) = (listing for listing in ENTITIES if listing.path == "/changes")
    for name in ("team", "ticket_key"):
        expected = [row for row in rows["change_lead_times"] if not row[name]]
        found = await walk(api, "/changes", {name: ""}, limit=1000)
        assert expected and same(found) == same(shown(changes, row) for row in expected)
    both = await walk(api, "/changes", {"team": ["", "one"]}, limit=1000)
    assert {row["team"] for row in both} == {None, "", "one"}


async def test_a_list_says_which_sources_it_lacks(api: httpx.AsyncClient) -> None:
    assert (await api.get("/metrics/quality")).json()["missing_sources"] == ["jira", "langfuse"]
    assert (await api.get("/metrics/dora")).json()["missing_sources"] == []


async def test_the_cost_reconciles_however_it_is_parted(api: httpx.AsyncClient, rows: Rows) -> None:
    calls = rows["cost_attribution"]
    total = sum(row["cost_usd"] for row in calls)
    for keys in [(), *combinations(("day", "project_key", "stage", "is_failed_run", "link_confidence"), 2)]:
        by = [parameter(key) for key in keys]
        answer = (await api.get("/costs", params={"by": by})).json()
        assert Decimal(answer["total_usd"]) == total
        assert Decimal(answer["attributed_usd"]) + Decimal(answer["unattributed_usd"]) == total
        groups = await walk(api, "/costs", {"by": by})
        expected: Counter[tuple[Any, ...]] = Counter()
        for row in calls:
            expected[tuple(plain(row[key]) for key in keys)] += row["cost_usd"]
        found = {tuple(group[name] for name in by): Decimal(group["cost_usd"]) for group in groups}
        assert len(found) == len(groups) and found == (expected if keys else {})
        if keys and "day" not in keys:
            assert [Decimal(g["cost_usd"]) for g in groups] == sorted(found.values(), reverse=True)
        assert all(set(group) == {*by, *queries.COST_SUMS} for group in groups), "keys that were not asked for"


async def test_the_cost_can_be_narrowed(api: httpx.AsyncClient, rows: Rows) -> None:
    calls = [
        row
        for row in rows["cost_attribution"]
        if row["ticket_outcome"] == "unattributed" and row["is_failed_run"] and row["day"] >= date(2026, 9, 15)
    ]
    question = {"ticket_outcome": "unattributed", "is_failed_run": "true", "after": "2026-09-15"}
    answer = (await api.get("/costs", params=question)).json()
    assert calls and Decimal(answer["unattributed_usd"]) == sum(row["cost_usd"] for row in calls)
    assert answer["attributed_usd"] == "0"


async def test_the_cost_is_unknown_without_langfuse(backend: Backend, api: httpx.AsyncClient, rows: Rows) -> None:
    lacking = [row | {"missing_sources": ["langfuse"]} for row in rows["metrics"]]
    refill(backend, {**rows, "metrics": lacking, "cost_attribution": []})
    try:
        answer = (await api.get("/costs?by=stage")).json()
    finally:
        refill(backend, rows)
    nothing = dict.fromkeys(("total_usd", "attributed_usd", "unattributed_usd", "next"))
    assert answer == {**nothing, "items": [], "missing_sources": ["langfuse"]}


def quantile(values: list[float], level: float) -> float | None:
    """Linear between the closest ranks."""
    if not values:
        return None
    ranked = sorted(values)
    at = (len(ranked) - 1) * level
    low = int(at)
    return ranked[low] + (ranked[min(low + 1, len(ranked) - 1)] - ranked[low]) * (at - low)


@pytest.mark.parametrize("team", [None, "one"])
async def test_the_funnel(api: httpx.AsyncClient, rows: Rows, team: str | None) -> None:
    tickets = [r for r in rows["approval_funnel"] if r["proposed_at"] and team in (None, r["team"])]
    answer = (await api.get("/approvals/funnel", params={"team": team} if team else {})).json()
    assert [gate["gate"] for gate in answer["gates"]] == list(queries.GATES)
    for gate in answer["gates"]:
        passed, wait = queries.GATES[gate["gate"]]
        through = [row for row in tickets if row[passed] is not None]
        assert (gate["tickets"], gate["conversion"]) == (len(through), pytest.approx(len(through) / len(tickets)))
        waits = [row[wait] for row in through if row[wait] is not None] if wait else []
        for name, level in queries.WAITS.items():
            assert gate[f"wait_seconds_{name}"] == (pytest.approx(quantile(waits, level)) if waits else None)
    assert answer["plan_rejections"] == sum(row["plan_rejections"] for row in tickets)
    reasons = Counter(reason for row in tickets for reason in row["rejection_reasons"])
    assert {each["reason"]: each["rejections"] for each in answer["reasons"]} == reasons
    assert [each["rejections"] for each in answer["reasons"]] == sorted(reasons.values(), reverse=True)


async def test_the_funnel_of_nobody(api: httpx.AsyncClient) -> None:
    answer = (await api.get("/approvals/funnel?team=nobody")).json()
    waits = [*(f"wait_seconds_{name}" for name in queries.WAITS), "wait_seconds_mean"]
    nothing = {"tickets": 0, "conversion": None, **dict.fromkeys(waits)}
    assert answer["gates"] == [{"gate": gate, **nothing} for gate in queries.GATES]
    assert (answer["plan_rejections"], answer["review_rejections"], answer["reasons"]) == (0, 0, [])


async def test_the_gates_of_a_source_that_never_loaded_are_null(
    backend: Backend, api: httpx.AsyncClient, rows: Rows
) -> None:
    lacking = [row | {"missing_sources": ["github"], "drill_down": "approval_funnel"} for row in rows["metrics"]]
    refill(backend, {**rows, "metrics": lacking})
    try:
        answer = (await api.get("/approvals/funnel")).json()
    finally:
        refill(backend, rows)
    told = {gate["gate"]: gate["tickets"] for gate in answer["gates"]}
    assert told["proposed"] and told["plan_approved"] is not None
    assert {told[gate] for gate in ("pull_request_opened", "reviewed", "approved", "merged", "deployed")} == {None}
    assert answer["review_rejections"] is None and answer["missing_sources"] == ["github"]


async def test_the_timeline_of_a_ticket(api: httpx.AsyncClient, rows: Rows) -> None:
    key = rows["ticket_timeline"][0]["ticket_key"]
    expected = sorted((r for r in rows["ticket_timeline"] if r["ticket_key"] == key), key=lambda r: r["sequence"])
    found = await walk(api, f"/tickets/{key}/timeline", {})
    assert [row["sequence"] for row in found] == [row["sequence"] for row in expected]
    for row, event in zip(found, expected, strict=True):
        assert row["url"] == (event["ref"] if event["ref"].startswith("https://") else None)
        assert row["cost_usd"] == plain(event["cost_usd"]) and row["actor_kind"] == event["actor_kind"]
    missing = await api.get("/tickets/NONE-1/timeline")
    assert (missing.status_code, missing.json()["detail"]) == (404, "there is no ticket NONE-1")


async def test_a_ticket_without_a_timeline_has_an_empty_one(api: httpx.AsyncClient, rows: Rows) -> None:
    told = {row["ticket_key"] for row in rows["ticket_timeline"]}
    key = next(row["ticket_key"] for row in rows["tickets"] if row["ticket_key"] not in told)
    answer = await api.get(f"/tickets/{key}/timeline")
    assert (answer.status_code, answer.json()["items"]) == (200, [])


async def test_the_catalogue_leads_to_values_and_rows(api: httpx.AsyncClient, rows: Rows) -> None:
    catalogue = (await api.get("/metrics")).json()["items"]
    assert {each["metric"] for each in catalogue} == {row["metric"] for row in rows["metrics"]}
    key = rows["ticket_timeline"][0]["ticket_key"]
    for path in {each[at].replace("{key}", key) for each in catalogue for at in ("values_at", "rows_at")}:
        assert (await api.get(f"http://api{path}")).status_code == 200, path


@pytest.mark.parametrize(
    ("path", "question", "status"),
    [
        ("/metrics/dora", {"period": "year"}, 422),
        ("/metrics/dora", {"scope": "galaxy"}, 422),
        ("/metrics/dora", {"misspelt": "x"}, 422),
        ("/metrics/dora", {"after": "9999-01-01"}, 422),
        ("/costs", {"by": "cost_usd; drop table x"}, 422),
        ("/changes", {"limit": 0}, 422),
        ("/changes", {"next": "bm8"}, 400),
        ("/approvals/funnel", {"limit": 1}, 422),
    ],
)
async def test_what_cannot_be_asked_is_refused(
    api: httpx.AsyncClient, path: str, question: dict[str, Any], status: int
) -> None:
    answer = await api.get(path, params=question)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


async def test_a_token_holds_for_its_own_question_only(api: httpx.AsyncClient) -> None:
    token = (await api.get("/costs?by=day&by=model&limit=1")).json()["next"]
    assert (await api.get("/costs", params={"by": ["day", "model"], "next": token})).status_code == 200
    assert (await api.get("/costs", params={"by": ["day", "stage"], "next": token})).status_code == 400
    assert (await api.get("/costs", params={"by": ["day", "model"], "stage": "one", "next": token})).status_code == 400


async def test_every_store_gives_the_same_answer(backends: list[Backend]) -> None:
    urls = [f"/api/v1{listing.path}?limit=20" for listing in (*SERIES, *ENTITIES)]
    urls += ["/api/v1/costs?by=project&by=stage", "/api/v1/metrics", "/api/v1/approvals/funnel"]
    for url in urls:
        answers: list[Any] = []
        for backend in backends:
            transport = httpx.ASGITransport(create_app(lambda dsn=backend.dsn: dsn))  # type: ignore[misc]
            async with httpx.AsyncClient(transport=transport, base_url="http://api") as api:
                response = await api.get(url)
                assert response.status_code == 200, (backend.name, response.text)
                answers.append(rounded(response.json()))
        assert all(answer == answers[0] for answer in answers), url


def rounded(answer: Any) -> Any:
    """Means differ in their last digit: stores add in different orders."""
    if isinstance(answer, dict):
        return {key: rounded(value) for key, value in answer.items()}
    if isinstance(answer, list):
        return [rounded(value) for value in answer]
    return round(answer, 6) if isinstance(answer, float) else answer


def test_parameters_and_columns_lead_to_each_other() -> None:
    assert [column_of(parameter(name)) for name in ("project_key", "stage")] == ["project_key", "stage"]
