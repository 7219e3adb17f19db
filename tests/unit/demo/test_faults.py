"""Faults by kind, chance and seed; what they do to a page and to the world."""

from __future__ import annotations

import copy
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from forge_demo import truth
from forge_demo.events import CommentAdded, IssueCreated, PullRequestOpened, TraceIngested
from forge_demo.faults import (
    HUGE,
    IN_A_ROW,
    IN_PLACE,
    KINDS,
    ODD,
    OF_THE_WORLD,
    PROFILES,
    Fault,
    Faults,
    Lateness,
    Replays,
    asked_cursor,
    duplicated,
    huge,
    odd,
    profile,
    reordered,
    standing,
)
from forge_demo.world import World

END = datetime(2026, 11, 1, 10, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "earthquake"}, "no fault 'earthquake'"),
        ({"probability": 0}, "probability"),
        ({"probability": 1.5}, "probability"),
        ({"times": -1}, "times"),
        ({"path": "("}, "regular expression"),
    ],
)
def test_what_makes_no_fault_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Fault(**given)
    with pytest.raises(ValueError, match="no profile"):
        profile("nice")


def test_the_next_so_many_requests_of_a_path_are_struck() -> None:
    faults = Faults()
    faults.standing.append(Fault("server_error", "^/jira/", times=2))
    met = [[f.kind for f in faults.strike(api, f"/{api}/x")[0]] for api in ("github", "jira", "jira", "jira")]
    assert met == [[], ["server_error"], ["server_error"], []] and not faults.standing


def struck(seed: int, order: str = "ab" * 200) -> dict[str, list[list[str]]]:
    faults = Faults(seed, profile("hostile"))
    found: dict[str, list[list[str]]] = {"a": [], "b": []}
    for api in order:
        found[api].append([f.kind for f in faults.strike(api, f"/{api}/x")[0]])
    return found


def test_the_same_seed_gives_the_same_faults_whatever_the_other_apis_do() -> None:
    assert struck(1) == struck(1, "a" * 200 + "b" * 200)
    assert struck(1) != struck(2)


def test_every_profile_strikes_and_lets_a_client_through() -> None:
    for name in PROFILES:
        faults = Faults(3, [f for f in profile(name) if f.kind not in OF_THE_WORLD])
        kinds: Counter[str] = Counter()
        in_a_row = 0
        for _ in range(3000):
            met = faults.strike("github", "/github/x")[0]
            failing = [f.kind for f in met if f.kind in IN_PLACE]
            assert len(failing) <= 1
            in_a_row = in_a_row + 1 if failing else 0
            assert in_a_row <= IN_A_ROW
            kinds.update(f.kind for f in met)
        assert set(kinds) == {f.kind for f in profile(name) if f.kind not in OF_THE_WORLD}
    assert {f.kind for f in PROFILES["hostile"]} == set(KINDS) - {"answer", "login_page", "slow"}


def test_one_fault_more_leaves_the_others_as_they_are() -> None:
    one, two = Faults(5, [standing("drip", 0.3)]), Faults(5, [standing("slow", 0.5), standing("drip", 0.3)])
    for _ in range(50):
        alone, beside = ([f.kind for f in faults.strike("a", "/a")[0]] for faults in (one, two))
        assert [kind for kind in beside if kind == "drip"] == alone


PAGES: dict[str, Any] = {
    "github list": [{"id": n} for n in range(9)],
    "github runs": {"total_count": 9, "workflow_runs": [{"id": n} for n in range(9)]},
    "jira cloud": {"issues": [{"id": n} for n in range(9)], "isLast": True},
    "bulk": {"issueChangeLogs": [{"issueId": n} for n in range(9)]},
    "jira data center": {"startAt": 0, "issues": [{"id": n} for n in range(9)]},
    "langfuse cursor": {"data": [{"id": n} for n in range(9)], "meta": {}},
    "langfuse page": {"data": [{"id": n} for n in range(9)], "meta": {"page": 1}},
    "prometheus": {"data": {"resultType": "matrix", "result": [{"metric": {"n": str(n)}} for n in range(9)]}},
    "graphql": {
        "data": {
            "rateLimit": {"cost": 1},
            "repository": {
                "pullRequests": {
                    "nodes": [{"id": n, "reviews": {"nodes": [1, 2, 3], "pageInfo": {}}} for n in range(9)],
                    "pageInfo": {"endCursor": "e", "hasNextPage": False},
                }
            },
        }
    },
}


def rows(name: str, document: Any) -> list[Any]:
    if name == "graphql":
        return list(document["data"]["repository"]["pullRequests"]["nodes"])
    if name == "prometheus":
        return list(document["data"]["result"])
    return list(document if isinstance(document, list) else next(v for v in document.values() if isinstance(v, list)))


@pytest.mark.parametrize("name", PAGES)
def test_rows_are_reordered_and_none_is_lost(name: str) -> None:
    page = copy.deepcopy(PAGES[name])
    reordered(page, random.Random(1))
    before, after = rows(name, PAGES[name]), rows(name, page)
    assert after != before and sorted(map(str, after)) == sorted(map(str, before))


@pytest.mark.parametrize("name", PAGES)
def test_rows_are_doubled_where_no_client_counts_them(name: str) -> None:
    page = copy.deepcopy(PAGES[name])
    duplicated(page, random.Random(1))
    before, after = rows(name, PAGES[name]), rows(name, page)
    counted = name in ("jira data center", "langfuse page", "prometheus")
    assert (len(after) == len(before)) is counted and {str(r) for r in after} == {str(r) for r in before}


@pytest.mark.parametrize("empty", [True, False])
@pytest.mark.parametrize("name", ["jira cloud", "bulk", "langfuse cursor", "graphql"])
def test_a_cursor_of_ours_leads_to_the_page_that_was_asked_for(name: str, empty: bool) -> None:
    replays, page = Replays(), copy.deepcopy(PAGES[name])
    assert replays.again(page, "there", empty=empty)
    assert rows(name, page) == ([] if empty else rows(name, PAGES[name]))
    if name == "graphql":
        info = page["data"]["repository"]["pullRequests"]["pageInfo"]
        assert info["hasNextPage"] is True
        assert replays.real({"variables": {"after": info["endCursor"]}}) == {"variables": {"after": "there"}}
    elif name == "langfuse cursor":
        assert replays.real({"cursor": page["meta"]["cursor"], "limit": "5"}) == {"cursor": "there", "limit": "5"}
    else:
        assert page.get("isLast") in (False, None)
        assert replays.real({"nextPageToken": page["nextPageToken"], "jql": "x"}) == {
            "nextPageToken": "there",
            "jql": "x",
        }


@pytest.mark.parametrize("name", ["github list", "jira data center", "langfuse page", "prometheus"])
def test_pages_without_cursors_are_not_given_again(name: str) -> None:
    page = copy.deepcopy(PAGES[name])
    assert not Replays().again(page, None, empty=True) and page == PAGES[name]


@pytest.mark.parametrize(
    ("query", "body", "asked"),
    [
        ({"cursor": "c", "limit": "5"}, None, (True, "c")),
        ({}, {"jql": "x", "nextPageToken": "t"}, (True, "t")),
        ({}, {"jql": "x"}, (True, None)),
        ({}, {"query": "q", "variables": {"owner": "o", "after": None}}, (True, None)),
        ({}, {"query": "q", "variables": {"after": "a", "reviewsAfter": "b"}}, (False, None)),
        ({}, {"query": "q"}, (False, None)),
    ],
)
def test_by_which_cursor_a_request_asks(query: dict[str, str], body: Any, asked: Any) -> None:
    assert asked_cursor(query, body) == asked


def test_late_tickets_are_seen_late_in_their_order_and_all_in_the_end() -> None:
    begin = END - timedelta(days=20)
    late, prompt = World.build(7, end=begin, days=5), World.build(7, end=begin, days=5)
    late.lateness = Lateness(7, 0.4, timedelta(hours=1))
    behind = overtaken = 0
    while late.now < END:
        to = late.now + timedelta(minutes=40)
        seen = len(late.past)
        late.advance(to)
        prompt.advance(to)
        behind += len(late.past) < len(prompt.past)
        newest = max(event.at for event in late.past[:seen])
        overtaken += any(event.at < newest for event in late.past if event.at > to - timedelta(hours=2))
    assert behind > 50 and overtaken > 50
    late.release()
    assert list(late.past) == list(prompt.past)
    for table in ("langfuse_traces", "jira_issues"):
        found, wanted = ({row["id"]: row for row in truth.TABLES[table](w.state)} for w in (late, prompt))
        assert found == wanted


@pytest.mark.parametrize("retell", [odd, huge])
def test_a_ticket_with_texts_of_a_kind_is_a_story_like_others(retell: Any) -> None:
    world = World.build(7, end=END, days=5)
    world.inject(1, timedelta(minutes=5), retell)
    seen = len(world.past)
    world.advance(END + timedelta(minutes=5))
    new = {type(event): event for event in reversed(world.past[seen:])}
    for kind, text in (
        (IssueCreated, "description"),
        (CommentAdded, "body"),
        (PullRequestOpened, "body"),
        (TraceIngested, "metadata"),
    ):
        if kind not in new:
            continue
        value = str(getattr(new[kind], text))
        assert ODD[:9] in value if retell is odd else len(value.encode()) >= HUGE
    assert len(new) > 5
