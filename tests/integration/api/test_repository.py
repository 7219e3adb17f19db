"""The repository answers the same on every store, and what it answers is what the rows say."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from forge_api.keyset import InvalidTokenError
from forge_api.queries import TICKET_SORTS, PlatformFilter, TicketFilter
from forge_api.repository import Gold
from forge_api.store import open_engine
from sqlalchemy import make_url, text

from .conftest import BEGIN, ODD_SUMMARIES, Backend, Row

Rows = dict[str, list[Row]]


def all_pages(gold: Gold, wanted: TicketFilter, sort: str, limit: int) -> list[Row]:
    found: list[Row] = []
    token = None
    while True:
        page = gold.tickets(wanted, sort, token, limit)
        found += page.rows
        assert len(page.rows) == limit or page.next is None
        if page.next is None:
            return found
        token = page.next


def in_order(rows: list[Row], sort: str) -> list[Row]:
    """Sorted by the rule itself: nulls last, ties by key, keys by bytes."""
    name = sort.removeprefix("-")
    by_key = sorted(rows, key=lambda row: row["ticket_key"].encode(), reverse=sort == "-ticket_key")
    if name == "ticket_key":
        return by_key
    known = sorted((r for r in by_key if r[name] is not None), key=lambda r: r[name])
    if sort.startswith("-"):  # a stable sort in reverse keeps ties in order of key
        known = sorted((r for r in by_key if r[name] is not None), key=lambda r: r[name], reverse=True)
    return known + [r for r in by_key if r[name] is None]


@pytest.mark.parametrize("sort", [sign + name for name in TICKET_SORTS for sign in ("", "-")])
def test_pages_join_to_the_whole_in_order(backend: Backend, rows: Rows, sort: str) -> None:
    expected = in_order(rows["tickets"], sort)
    assert all_pages(backend.gold, TicketFilter(), sort, limit=7) == expected
    assert all_pages(backend.gold, TicketFilter(), sort, limit=500) == expected


FILTERS: list[tuple[TicketFilter, Callable[[Row], Any]]] = [
    (TicketFilter(project=["PAY", "web"]), lambda r: r["project_key"] in ("PAY", "web")),
    (TicketFilter(status_category=["done"]), lambda r: r["status_category"] == "done"),
    (TicketFilter(issue_type=["Bug"]), lambda r: r["issue_type"] == "Bug"),
    (TicketFilter(assignee=["Ada O'Hara"]), lambda r: r["assignee_name"] == "Ada O'Hara"),
    (
        TicketFilter(
            created_after=BEGIN + timedelta(days=5, microseconds=1), created_before=BEGIN + timedelta(days=15)
        ),
        lambda r: r["created_at"] and timedelta(days=5, microseconds=1) <= r["created_at"] - BEGIN < timedelta(days=15),
    ),
    (
        TicketFilter(resolved_after=BEGIN + timedelta(days=5), resolved_before=BEGIN + timedelta(days=9)),
        lambda r: r["resolved_at"] and timedelta(days=5) <= r["resolved_at"] - BEGIN < timedelta(days=9),
    ),
    (TicketFilter(has_pull_request=True), lambda r: (r["pull_requests"] or 0) > 0),
    (TicketFilter(has_pull_request=False), lambda r: r["pull_requests"] == 0),
    (TicketFilter(search="refund TWICE"), lambda r: r["summary"] == "Refund twice"),
    (TicketFilter(search="ops-1"), lambda r: r["ticket_key"].startswith("Ops-1")),
    *[(TicketFilter(search=odd), lambda r, odd=odd: r["summary"] == odd) for odd in ODD_SUMMARIES if odd],
]


@pytest.mark.parametrize(("wanted", "keeps"), FILTERS, ids=lambda value: "" if callable(value) else repr(value)[:60])
def test_filters(backend: Backend, rows: Rows, wanted: TicketFilter, keeps: Callable[[Row], Any]) -> None:
    expected = in_order([row for row in rows["tickets"] if keeps(row)], "-cost_usd")
    assert expected, "the rows must have some for this filter"
    assert all_pages(backend.gold, wanted, "-cost_usd", limit=4) == expected


def test_money_is_compared_to_the_last_digit(backend: Backend, rows: Rows) -> None:
    dearest = max(row["cost_usd"] for row in rows["tickets"] if row["cost_usd"] is not None)
    over = dearest + Decimal("1e-12")
    assert [r["cost_usd"] for r in all_pages(backend.gold, TicketFilter(min_cost=dearest), "cost_usd", 5)] == [dearest]
    assert all_pages(backend.gold, TicketFilter(min_cost=over), "cost_usd", 5) == []
    at_most = all_pages(backend.gold, TicketFilter(max_cost=dearest - Decimal("1e-12")), "cost_usd", 500)
    assert at_most == in_order(
        [r for r in rows["tickets"] if r["cost_usd"] is not None and r["cost_usd"] < dearest], "cost_usd"
    )


def test_a_page_token_holds_only_for_its_question(backend: Backend) -> None:
    token = backend.gold.tickets(TicketFilter(), "-cost_usd", None, 5).next
    for wanted, sort in ((TicketFilter(project=["PAY"]), "-cost_usd"), (TicketFilter(), "cost_usd")):
        with pytest.raises(InvalidTokenError, match="other filters"):
            backend.gold.tickets(wanted, sort, token, 5)
    assert backend.gold.tickets(TicketFilter(), "-cost_usd", token, 9).rows


def test_a_ticket_with_its_costs(backend: Backend, rows: Rows) -> None:
    ticket = next(row for row in rows["tickets"] if row["traces"])
    found = backend.gold.ticket(ticket["ticket_key"])
    assert found is not None
    assert found[0] == ticket
    costs = [dict(c) for c in rows["ticket_costs"] if c["ticket_key"] == ticket["ticket_key"]]
    for cost in costs:
        del cost["ticket_key"]
    assert found[1] == sorted(costs, key=lambda c: -c["cost_usd"])
    assert sum(c["cost_usd"] for c in found[1]) == ticket["cost_usd"]


@pytest.mark.parametrize("key", ["nope", "", "' or 1=1 --", "\\", "%", "PAY-%"])
def test_an_unknown_ticket_is_none(backend: Backend, key: str) -> None:
    assert backend.gold.ticket(key) is None


def test_the_flow(backend: Backend, rows: Rows) -> None:
    tickets = rows["tickets"]
    leads = [r["lead_time_seconds"] for r in tickets if r["lead_time_seconds"] is not None]
    percentiles = statistics.quantiles(leads, n=100, method="inclusive")
    by_agents = [r for r in tickets if r["is_done"] and r["traces"]]
    flow = backend.gold.flow()
    assert flow == {
        "tickets": len(tickets),
        "done": sum(bool(r["is_done"]) for r in tickets),
        "median": pytest.approx(statistics.median(leads), rel=1e-12),
        "p75": pytest.approx(percentiles[74], rel=1e-12),
        "p90": pytest.approx(percentiles[89], rel=1e-12),
        "measured": len(leads),
        "done_by_agents": len(by_agents),
        "cost_of_done_by_agents": sum(r["cost_usd"] for r in by_agents),
    }


def test_by_project(backend: Backend, rows: Rows) -> None:
    found = backend.gold.by_project()
    assert [row["project_key"] for row in found] == ["Ops", "PAY", "web", None]
    for row in found:
        mine = [r for r in rows["tickets"] if r["project_key"] == row["project_key"]]
        assert (row["tickets"], row["done"]) == (len(mine), sum(bool(r["is_done"]) for r in mine))
        assert row["cost_usd"] == sum(r["cost_usd"] for r in mine if r["cost_usd"] is not None)


def test_costs_by_stage_and_model(backend: Backend, rows: Rows) -> None:
    found = backend.gold.costs()
    assert found == sorted(found, key=lambda row: -row["cost_usd"])
    for row in found:
        mine = [c for c in rows["ticket_costs"] if (c["stage"], c["model"]) == (row["stage"], row["model"])]
        assert row["cost_usd"] == sum(c["cost_usd"] for c in mine)
        assert (row["attributed_usd"] or 0) == sum(c["cost_usd"] for c in mine if c["ticket_key"])
        assert row["total_tokens"] == sum(c["total_tokens"] for c in mine)


def test_platform_hours(backend: Backend, rows: Rows) -> None:
    hours = sorted(rows["platform_hourly"], key=lambda r: (-r["hour"].timestamp(), r["query"]))
    found: list[Row] = []
    token = None
    while found == [] or token:
        page = backend.gold.platform(PlatformFilter(), token, 7)
        found, token = found + page.rows, page.next
    assert found == hours
    wanted = PlatformFilter(query=["errors"], after=BEGIN + timedelta(hours=3), before=BEGIN + timedelta(hours=5))
    assert [r["hour"] for r in backend.gold.platform(wanted, None, 9).rows] == [
        BEGIN + timedelta(hours=4),
        BEGIN + timedelta(hours=3),
    ]


def test_coverage(backend: Backend, rows: Rows) -> None:
    assert backend.gold.coverage() == rows["coverage"]


def test_every_store_gives_the_same_answers(backends: list[Backend]) -> None:
    first, *others = [
        {
            "tickets": [asdict(b.gold.tickets(TicketFilter(), f"-{sort}", None, 20)) for sort in TICKET_SORTS],
            "platform": asdict(b.gold.platform(PlatformFilter(), None, 9)),
            "flow": b.gold.flow(),
            "by_project": b.gold.by_project(),
            "costs": b.gold.costs(),
            "costs_total": b.gold.costs_total(),
            "coverage": b.gold.coverage(),
        }
        for b in backends
    ]
    assert len(others) == 2
    for other in others:
        assert other == first


def test_nothing_can_be_written_even_with_a_user_that_may(backend: Backend, rows: Rows) -> None:
    url = make_url(backend.writer_dsn)
    if backend.name != "postgresql":
        url = url.set(drivername=backend.name)
    engine = open_engine(url.render_as_string(hide_password=False))
    for statement in ("drop table gold.coverage", "insert into gold.coverage select * from gold.coverage"):
        with pytest.raises(Exception, match=r"(?i)read-?only"), engine.begin() as connection:
            connection.execute(text(statement))
    engine.dispose()
    assert backend.gold.coverage() == rows["coverage"]
