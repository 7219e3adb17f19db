"""The SQL itself: what the caller says is bound, never spelt; lists are bounded; each dialect gets its own words."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from forge_api import listings, queries
from forge_api.listings import ENTITIES, SERIES, TIMELINE, Wanted
from forge_api.queries import PlatformFilter, TicketFilter
from sqlalchemy import Select, create_engine
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.compiler import SQLCompiler

DIALECTS = {
    url.split("://")[0]: create_engine(url).dialect
    for url in ("clickhousedb://h", "clickhouse+http://h", "postgresql+psycopg://h")
}
MOMENT = datetime(2026, 5, 4, 3, 2, 1, 654321, tzinfo=UTC)
EVERYTHING = TicketFilter(
    project=["said-project"],
    status_category=["said-status"],
    issue_type=["said-type"],
    assignee=["said-assignee"],
    created_after=MOMENT,
    created_before=MOMENT,
    resolved_after=MOMENT,
    resolved_before=MOMENT,
    min_cost=Decimal("98765.000000000001"),
    max_cost=Decimal("98765.000000000001"),
    has_pull_request=True,
    search="said-search",
)
START = [Decimal("98765.000000000001"), "said-key"]


def compiled(query: Select[Any], dialect: Dialect) -> SQLCompiler:
    result = query.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    assert isinstance(result, SQLCompiler)
    return result


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    return DIALECTS[request.param]


def test_what_the_caller_says_is_bound(dialect: Dialect) -> None:
    query = queries.list_tickets(EVERYTHING, queries.ticket_order("-cost_usd"), START, 5)
    sql = str(compiled(query, dialect))
    assert "said" not in sql and "98765" not in sql and "2026" not in sql
    assert "said" not in str(compiled(queries.one_ticket("said-key"), dialect))
    wanted = Wanted({"stage": ["said"]}, ["model"], MOMENT.date(), MOMENT.date())
    for asked in (listings.rows(ENTITIES[3], wanted, [MOMENT, "said", "said"], 5), queries.costs_over(wanted)):
        sql = str(compiled(asked, dialect))
        assert "said" not in sql and "2026" not in sql
    platform = PlatformFilter(query=["said"], metric=["said"], after=MOMENT, before=MOMENT)
    assert "said" not in str(compiled(queries.list_platform(platform, [MOMENT, "said", "said"], 5), dialect))


@pytest.mark.parametrize(
    "query",
    [
        queries.list_tickets(TicketFilter(), queries.ticket_order("ticket_key"), None, 5),
        queries.list_platform(PlatformFilter(), None, 5),
        queries.one_ticket("k"),
        queries.costs_of_ticket("k"),
        queries.by_project(),
        queries.by_stage_and_model(),
        queries.list_coverage(),
        queries.list_metrics(),
        queries.missing_sources("dora_metrics"),
        queries.rejection_reasons(Wanted({})),
        queries.cost_groups(Wanted({}, ["stage"]), None, 5)[0],
        *(listings.rows(listing, Wanted({}), None, 5) for listing in (*SERIES, *ENTITIES, TIMELINE)),
        queries.probe(),
    ],
    ids=lambda query: " ".join(str(query).split())[:40],
)
def test_every_list_is_bounded_and_nothing_is_skipped(query: Select[Any], dialect: Dialect) -> None:
    sql = str(compiled(query, dialect)).upper()
    assert "LIMIT" in sql
    assert "OFFSET" not in sql


@pytest.mark.parametrize("sort", queries.TICKET_SORTS)
def test_an_order_ends_with_the_key(sort: str) -> None:
    for sign in ("", "-"):
        order = queries.ticket_order(sign + sort)
        assert order[0].column.name == sort and order[0].descending == bool(sign)
        assert order[-1].column.name == "ticket_key"


@pytest.mark.parametrize("sort", ["summary", "--cost_usd", "", "cost_usd; drop table x"])
def test_no_other_order_can_be_asked_for(sort: str) -> None:
    with pytest.raises(ValueError, match="sort must be one of"):
        queries.ticket_order(sort)


def test_clickhouse_gets_times_and_money_as_exact_text() -> None:
    query = queries.list_tickets(TicketFilter(created_after=MOMENT, min_cost=Decimal("1e-12")), [], None, 5)
    for name in ("clickhousedb", "clickhouse+http"):
        found = compiled(query, DIALECTS[name])
        values = {found._bind_processors.get(k, lambda v: v)(v) for k, v in found.params.items()}
        assert {"2026-05-04 03:02:01.654321", "0.000000000001"} <= values


def test_a_quantile_is_continuous_everywhere() -> None:
    spelt = {name: str(compiled(queries.flow(), dialect)) for name, dialect in DIALECTS.items()}
    assert "percentile_cont(0.5) WITHIN GROUP" in spelt["postgresql+psycopg"]
    assert "quantileExactInclusive(0.5)(" in spelt["clickhousedb"]
    assert "quantileExactInclusive(0.5)(" in spelt["clickhouse+http"]
