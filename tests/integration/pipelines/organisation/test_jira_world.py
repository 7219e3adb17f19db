"""Jira's bronze equals the truth: after moves and deletions, in any zone, with a late index, on both deployments."""

from __future__ import annotations

import json
from typing import Any

import pytest
from forge_demo.truth_jira import LOADED, said

KEYED = ("assignee_id", "reporter_id", "creator_id", "author_id", "lead_id")
"""Data Center names people by name and key, and says no kind of account."""
UNTOLD = ("assignee_type", "reporter_type", "author_type", "field_id", "comments", "description")


def requests(exact: Any) -> int:
    return int(exact.organisation.ask("")["requests"].get("jira", 0))


def test_requests_of_a_first_load(exact: Any) -> None:
    before = requests(exact)
    loaded = exact.load("jira", "jira-first")
    issues = loaded.summary["rows"]["issues"]
    assert requests(exact) - before == loaded.summary["requests"]
    # Beside a search page and its part of the changelogs for each 100 issues: fields, boards, sprints, projects; and a
    # request for each issue that has more comments than the search embeds.
    long = sum(len(row["comments"]) > 20 for row in exact.organisation.ask("/truth?table=jira_issues"))
    assert loaded.summary["requests"] <= issues / 50 + long + 12
    exact.assert_equal("jira", "jira-first")


@pytest.mark.parametrize("zone", ["America/St_Johns", "Asia/Kolkata"])
def test_the_accounts_zone_changes_nothing(exact: Any, zone: str) -> None:
    name = f"jira-{zone[-4:].lower()}"
    exact.load("jira", name)
    try:
        exact.organisation.ask("/settings", {"jira_zone": zone})
        for minutes in (7, 61, 300):
            exact.organisation.ask("/advance", {"minutes": minutes})
            exact.load("jira", name)
            exact.assert_equal("jira", name)
    finally:
        exact.organisation.ask("/settings", {"jira_zone": "Europe/Berlin"})


def test_an_index_that_is_late(exact: Any) -> None:
    try:
        exact.organisation.ask("/settings", {"jira_index_seconds": 30})
        for minutes in (1, 45, 2, 30):
            exact.organisation.ask("/tickets", {"count": 1, "minutes": 1})
            exact.organisation.ask("/advance", {"minutes": minutes})
            exact.load("jira", "jira-late")
        exact.organisation.ask("/advance", {"seconds": 31})
        exact.load("jira", "jira-late")
    finally:
        exact.organisation.ask("/settings", {"jira_index_seconds": 0})
    exact.assert_equal("jira", "jira-late")


def test_moved_and_deleted_issues(exact: Any) -> None:
    exact.load("jira", "jira-gone", sweep="1s")
    quiet = [
        row
        for row in exact.organisation.ask("/truth?table=jira_issues")
        if row["status_category"] == "done" and not row["links"] and row["issue_type"] != "Epic"
    ]
    away, within, deleted = (row["key"] for row in quiet[:3])
    exact.organisation.ask("/jira", {"do": "move", "issue": away, "to": "OPS"})
    other = next(key for key in LOADED if not within.startswith(key))
    exact.organisation.ask("/jira", {"do": "move", "issue": within, "to": other})
    exact.organisation.ask("/jira", {"do": "delete", "issue": deleted})
    exact.load("jira", "jira-gone", sweep="1s")
    exact.assert_equal("jira", "jira-gone")
    deletions = exact.committed("jira_gone", "deletions")
    reasons = {json.loads(row["entity_key"])[0]: row["reason"] for row in deletions}
    assert reasons == {quiet[0]["id"]: "moved", quiet[2]["id"]: "deleted"}
    exact.organisation.ask("/jira", {"do": "restore", "issue": deleted})
    exact.load("jira", "jira-gone", sweep="1s")
    exact.assert_equal("jira", "jira-gone")


def test_sprints_and_versions_by_their_calendar(exact: Any) -> None:
    for days in (0, 3, 5, 7):
        if days:
            exact.organisation.ask("/advance", {"days": days})
        exact.load("jira", "jira-calendar")
        exact.assert_equal("jira", "jira-calendar")


@pytest.mark.parametrize("kind", ["jira", "jiraDataCenter"])
def test_odd_pages(exact: Any, kind: str) -> None:
    path = "^/jira/" if kind == "jira" else "^/jira-dc/"
    name = f"odd-{kind.lower()[:8]}"
    try:
        for fault in ("reordered", "duplicates", "repeated_page", "empty_page"):
            exact.organisation.fault(fault, path=path, times=0, probability=0.5)
        exact.load(kind, name, deployment="Auto")
    finally:
        exact.organisation.calm()
    leave = ("custom_fields", *KEYED, *UNTOLD) if kind == "jiraDataCenter" else ()
    exact.assert_equal("jira", name, leave)


def test_data_center_says_the_same(exact: Any) -> None:
    both = {"deployment": "Auto", "customFields": ["customfield_10016", "customfield_10042"]}
    for step in range(2):
        if step:
            exact.organisation.ask("/tickets", {"count": 2, "minutes": 10})
        exact.load("jiraDataCenter", "jira-dc", **both)
        exact.assert_equal("jira", "jira-dc", (*KEYED, *UNTOLD))
    rows = {row["id"]: row for row in exact.committed("jira_dc", "issues")}
    for must in exact.organisation.ask("/truth?table=jira_issues"):
        row = rows[must["id"]]
        assert said(row["description"]) == must["description"]
        talk = [(c["id"], c["author"], said(c["body"]), c["event"]) for c in json.loads(row["comments"])]
        assert talk == [(c["id"], c["author"], c["body"], c["event"]) for c in must["comments"]]
