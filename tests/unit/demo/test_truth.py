"""The ground truth agrees with itself: counted from events, and summed from the expected rows."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from forge_demo import truth, truth_github, truth_jira, truth_langfuse
from forge_demo.events import Observation
from forge_demo.traces import cost_parts
from forge_demo.world import World

END = datetime(2026, 11, 1, 10, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def world() -> World:
    return World.build(7, end=END)


def test_cost_is_price_times_tokens() -> None:
    step = Observation(
        "a", None, "GENERATION", "x", END, END, model="claude-sonnet-4-5", input_tokens=1000, output_tokens=200
    )
    assert cost_parts(step) == {"input": Decimal("0.003"), "output": Decimal("0.003")}
    assert cost_parts(Observation("a", None, "SPAN", "x", END, END)) == {}


def test_attributed_and_unattributed_cost_are_all_cost(world: World) -> None:
    attributed = sum(t.cost_usd for t in truth.tickets(world.past).values())
    total = sum((row["total_cost"] or Decimal(0) for row in truth_langfuse.observations(world.state)), Decimal(0))
    assert attributed + truth.unattributed_cost(world.past) == total
    assert total == sum(row["total_cost"] for row in truth_langfuse.traces(world.state))
    assert 0 < truth.unattributed_cost(world.past) < total / 10


def test_a_tickets_stages_are_its_cost(world: World) -> None:
    for ticket in truth.tickets(world.past).values():
        assert sum(ticket.cost_by_stage.values(), Decimal(0)) == ticket.cost_usd


def test_tickets_agree_with_the_expected_rows(world: World) -> None:
    tickets = truth.tickets(world.past)
    issues = {row["key"]: row for row in truth_jira.issues(world.state)}
    assert tickets.keys() == issues.keys()
    for key, row in issues.items():
        ticket = tickets[key]
        assert ticket.status_category == row["status_category"]
        assert (ticket.status, ticket.resolved_at, ticket.assignee_name) == (
            row["status"],
            row["resolved_at"],
            row["assignee_name"],
        )
    pulls = [row for row in truth_github.pull_requests(world.state) if row["title"].partition(":")[0] in tickets]
    assert len(pulls) == sum(t.pull_requests for t in tickets.values())
    assert sum(row["state"] == "MERGED" for row in pulls) == sum(t.merged_pull_requests for t in tickets.values())
    others = [r for row in pulls for r in row["reviews"] if r["author"] != row["author_login"]]
    assert len(others) == sum(t.reviews for t in tickets.values())
    for key, ticket in tickets.items():
        mine = [row["first_commit_at"] for row in pulls if row["title"].startswith(f"{key}:")]
        assert ticket.first_commit_at == min(mine, default=None)


def test_lead_time_is_created_to_resolved(world: World) -> None:
    done = [t for t in truth.tickets(world.past).values() if t.resolved_at]
    assert len(done) > 200
    for ticket in done:
        assert ticket.resolved_at is not None
        assert ticket.lead_time_seconds == (ticket.resolved_at - ticket.created_at).total_seconds() > 0
        assert ticket.cycle_time_seconds is None or 0 < ticket.cycle_time_seconds <= ticket.lead_time_seconds


def test_plain_values_can_be_written_as_json() -> None:
    value = truth.plain({"at": END, "cost": Decimal("0.10"), "day": END.date(), "list": (1, None)})
    assert value == {"at": "2026-11-01T10:30:00.000000Z", "cost": "0.10", "day": "2026-11-01", "list": [1, None]}
