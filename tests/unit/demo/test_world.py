"""The world: the same by seed, in order, never rewritten, and believable."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from forge_demo import events as ev
from forge_demo import organisation as org
from forge_demo import truth, truth_github
from forge_demo.story import Brief
from forge_demo.world import World

END = datetime(2026, 11, 1, 10, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def world() -> World:
    return World.build(7, end=END)


def test_the_same_seed_gives_the_same_world(world: World) -> None:
    assert list(World.build(7, end=END).past) == list(world.past)
    assert list(World.build(8, end=END).past) != list(world.past)


def test_growing_in_steps_gives_the_world_that_was_built_at_once(world: World) -> None:
    grown = World.build(7, end=END - timedelta(days=5), days=85)
    assert grown.start == world.start
    while grown.now < END:
        grown.advance(grown.now + timedelta(hours=7))
    grown_until_end = [e for e in grown.past if e.at <= END]
    assert grown_until_end == list(world.past)
    later = World.build(7, end=grown.now, days=(grown.now.date() - world.start.date()).days)
    assert truth.plain(truth_github.pull_requests(grown.state)) == truth.plain(truth_github.pull_requests(later.state))


def test_nothing_is_shown_before_it_happened(world: World) -> None:
    assert [e.at for e in world.past] == sorted(e.at for e in world.past)
    assert world.past[-1].at <= world.now == END
    for table, rows in truth.TABLES.items():
        for row in rows(world.state):
            # The end of a sprint is planned.
            late = {k: v for k, v in row.items() if isinstance(v, datetime) and v > END and k != "end_at"}
            assert not late, (table, late)


def test_an_update_time_is_the_newest_thing_that_happened(world: World) -> None:
    for issue in world.state.issues.values():
        times = [issue.created.at, *(h.at for h in issue.histories), *(c.edited_at for c in issue.comments)]
        took_away = any(c.deleted for c in issue.said) or issue.created.summary == "Issue that was no mistake"
        assert issue.updated_at == max(times) or (took_away and issue.updated_at > max(times))
    for pull in world.state.pull_requests.values():
        times = [
            pull.opened.at,
            *(r.at for r in pull.reviews),
            *(p.at for p in pull.pushes),
            *(r.at for r in pull.ready),
        ]
        assert pull.updated_at >= max(times)
        assert pull.closed_at is None or pull.updated_at >= pull.closed_at


def test_a_changelog_leads_from_each_status_to_the_next(world: World) -> None:
    for issue in world.state.issues.values():
        status = org.TODO.name
        for history in issue.histories:
            for change in history.changes:
                if change.field_id == "status":
                    assert change.from_string == status
                    status = change.to_string or ""
        assert status == issue.status.name
        assert (issue.resolved_at is not None) == (issue.status == org.DONE)


def test_spans_lie_within_their_parents_and_carry_no_cost(world: World) -> None:
    for trace in world.state.traces.values():
        known = {o.observation.id: o.observation for o in trace.observations}
        assert len([o for o in known.values() if o.parent is None]) == 1
        for one in known.values():
            assert one.ended_at is not None and one.started_at <= one.ended_at <= trace.ingested.at
            if one.parent is not None:
                above = known[one.parent]
                assert above.ended_at is not None
                assert above.started_at <= one.started_at and one.ended_at <= above.ended_at
            assert (one.input_tokens is None) or one.type == "GENERATION"


def test_the_world_has_what_makes_life_hard(world: World) -> None:
    state = world.state
    assert 350 <= len(state.issues) <= 550
    assert 6_000 <= sum(len(t.observations) for t in state.traces.values()) <= 11_000
    assert {pull.state for pull in state.pull_requests.values()} == {"OPEN", "CLOSED", "MERGED"}
    assert {i.status.name for i in state.issues.values()} >= {"To Do", "In Progress", "In Review", "Done"}
    assert any(pull.opened.ticket is None for pull in state.pull_requests.values())
    assert any(trace.ingested.ticket is None for trace in state.traces.values())
    assert any(i.created.issue_type == "Incident" for i in state.issues.values())
    assert {i.resolution for i in state.issues.values()} >= {"Done", "Won't Do", None}
    reopened = [
        c for e in world.past if isinstance(e, ev.IssueChanged) for c in e.changes if c.field_id == "resolution"
    ]
    assert any(change.to_string is None for change in reopened)
    assert any(run.started.attempt > 1 for run in state.runs.values())
    assert any(trace.updated_at > trace.ingested.at + timedelta(minutes=10) for trace in state.traces.values())
    assert any(not pull.opened.title.isascii() for pull in state.pull_requests.values())
    assert {"ERROR", "DEFAULT"} <= {o.observation.level for t in state.traces.values() for o in t.observations}
    kept = Counter(
        (bool(dict(t.metadata).get("ticket")), t.ingested.session is not None) for t in state.traces.values()
    )
    assert len(kept) == 3


def test_people_work_in_the_daytime_of_their_zone(world: World) -> None:
    hours = Counter()
    for pull in world.state.pull_requests.values():
        for review in pull.reviews:
            if pull.opened.ticket and world.state.issues[pull.opened.ticket].created.issue_type != "Incident":
                local = review.at.astimezone(review.author.tz)
                hours[local.weekday() < 5 and 8 <= local.hour <= 18] += 1
    assert hours[True] > 0.97 * hours.total()


def test_injected_tickets_come_to_their_end_within_the_time_given_and_change_nothing_before() -> None:
    world = World.build(3, end=END, days=20)
    before = truth.plain({name: rows(world.state) for name, rows in truth.TABLES.items()})
    past = list(world.past)
    keys = world.inject(3, timedelta(minutes=10))
    assert truth.plain({name: rows(world.state) for name, rows in truth.TABLES.items()}) == before
    world.advance(END + timedelta(minutes=10))
    assert list(world.past[: len(past)]) == past
    tickets = truth.tickets(world.past)
    for key in keys[:3]:
        assert tickets[key].status
        assert tickets[key].merged_pull_requests >= 1 or tickets[key].issue_type == "Incident"
    assert sum(tickets[key].cost_usd for key in keys) > 0
    again = World.build(3, end=END, days=20)
    assert again.inject(3, timedelta(minutes=10)) == keys


def test_a_brief_is_told_the_same_way_twice() -> None:
    from forge_demo.story import tell

    brief = Brief("5", 1, org.PLATFORM, "FLEET-1", END)
    assert tell(brief, lambda team: (2, "FLEET-2")) == tell(brief, lambda team: (2, "FLEET-2"))
