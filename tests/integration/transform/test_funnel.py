"""Three tickets and an epic on their way through people's hands: what gold tells of each gate, by hand.

The same bronze comes as one load and in parts that overlap; every sequence ends in the tables of a full refresh.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from forge_stack.wire import TransformSummary

sys.path.insert(0, str(Path(__file__).parent))

from by_hand import Load, Row, all_rows, at, rows, write

pytestmark = pytest.mark.slow

Build = Callable[[Row], TransformSummary]
TABLES = (
    "silver.approvals",
    "gold.approval_funnel",
    "gold.approval_funnel_metrics",
    "gold.approver_load",
    "gold.agent_metrics",
)
REQUEST = {
    "sources": [{"name": name, "type": name} for name in ("langfuse", "github", "jira")],
    "variables": {
        "teams": [{"name": "Shop", "repositories": ["acme/shop"], "jira_projects": ["FORGE"]}],
        "identities": [{"name": "Ada Lovelace", "github": ["ada"], "jira": ["a1"]}],
    },
}
HOUR = 3600.0


def issue(id_: str, key: str, type_: str, status: str, created: str, updated: str, **more: Any) -> Row:
    category = {"To Do": "new", "Done": "done"}.get(status, "indeterminate")
    return {
        "id": id_,
        "key": key,
        "project_key": key.split("-")[0],
        "summary": key,
        "issue_type": type_,
        "status": status,
        "status_category": category,
        "creator_id": "a1",
        "creator_name": "Ada",
        "created_at": at(created),
        "updated_at": at(updated),
    } | more


def moved(issue_id: str, number: int, moment: str, by: str, before: str, after: str) -> Row:
    return {
        "issue_id": issue_id,
        "history_id": str(number),
        "item_index": 0,
        "created_at": at(moment),
        "author_id": by,
        "author_name": {"a1": "Ada", "b1": "Ben"}.get(by, by),
        "field": "status",
        "from_string": before,
        "to_string": after,
    }


def comment(moment: str, by: str, body: str, event: str | None) -> Row:
    return {"id": moment, "authorId": by, "author": by, "createdAt": at(moment), "body": body, "event": event}


CARD_NEW = issue("1", "FORGE-1", "Story", "Plan Review", "05 08:00", "05 12:00")
CARD = issue("1", "FORGE-1", "Story", "Done", "05 08:00", "07 12:00", resolved_at=at("07 12:00"), resolution="Done")
CARD |= {
    "comments": json.dumps(
        [
            comment("05 13:00", "b1", "Why?", "question"),
            comment("05 14:00", "b1", "Go on.", "approval"),
            comment("07 11:00", "b1", "No, wait", "rejection"),
        ]
    )
}
TYPO = issue("2", "FORGE-2", "Bug", "Done", "06 08:00", "06 10:00", resolved_at=at("06 10:00"), resolution="Done")
IDEA = issue("3", "FORGE-3", "Story", "Plan Review", "06 09:00", "06 11:00")
EPIC = issue("9", "FORGE-9", "Epic", "To Do", "05 07:00", "05 07:00")
CHANGES = [
    moved("1", 11, "05 09:00", "forge-planner", "To Do", "Plan Review"),
    moved("1", 12, "05 11:00", "forge-planner", "Plan Review", "Planning"),
    moved("1", 13, "05 12:00", "forge-planner", "Planning", "Plan Review"),
    moved("1", 14, "05 15:00", "a1", "Plan Review", "Coding"),
    moved("1", 15, "07 12:00", "a1", "Coding", "Done"),
    moved("2", 21, "06 10:00", "b1", "To Do", "Done"),
    moved("3", 31, "06 10:00", "b1", "To Do", "Plan Review"),
    moved("3", 32, "06 10:30", "a1", "Plan Review", "To Do"),
    moved("3", 33, "06 11:00", "b1", "To Do", "Plan Review"),
]
PLAN = {
    "project_id": "p",
    "id": "t1",
    "updated_at": at("05 10:00"),
    "timestamp": at("05 08:30"),
    "user_id": "forge-planner",
    "metadata": json.dumps({"ticket": "FORGE-1", "stage": "plan", "approver": "ada"}),
    "ticket": "FORGE-1",
    "stage": "plan",
    "attempt": 2,
}
UNLINKED = PLAN | {"id": "t2", "metadata": "{}", "ticket": None, "stage": None, "attempt": None}
CALLS = [
    {
        "project_id": "p",
        "id": f"o{number}",
        "trace_id": trace,
        "type": "GENERATION",
        "model": "m",
        "level": level,
        "updated_at": at("05 08:31"),
        "start_time": at("05 08:31"),
        "total_cost": cost,
    }
    for number, trace, level, cost in (
        (1, "t1", "ERROR", "0.250000000001"),
        (2, "t1", "DEFAULT", "0.5"),
        (3, "t2", "DEFAULT", "0.125"),
    )
]
REFUSED = {
    "project_id": "p",
    "id": "s1",
    "updated_at": at("05 10:00"),
    "timestamp": at("05 10:00"),
    "name": "plan_approval",
    "source": "ANNOTATION",
    "data_type": "NUMERIC",
    "trace_id": "t1",
    "value": 0,
    "comment": "Too broad",
}


def pull_request(number: int, branch: str, author: str, opened: str, updated: str, **more: Any) -> Row:
    return {
        "repository_id": 1,
        "repository": "acme/shop",
        "number": number,
        "node_id": f"PR{number}",
        "url": f"https://github.com/acme/shop/pull/{number}",
        "title": branch,
        "head_ref": branch,
        "base_ref": "main",
        "author_login": author,
        "author_type": "User",
        "state": "OPEN",
        "created_at": at(opened),
        "updated_at": at(updated),
    } | more


def merged(moment: str, sha: str) -> Row:
    return {"state": "MERGED", "merged_at": at(moment), "closed_at": at(moment), "merge_commit_sha": sha}


def commit(oid: str, moment: str, author: str) -> Row:
    return {"oid": oid, "authoredAt": at(moment), "committedAt": at(moment), "author": author, "authorType": "User"} | {
        "authorEmail": f"{author}@acme.com",
        "message": oid,
        "coAuthors": [],
    }


def review(moment: str, by: str, state: str, body: str = "") -> Row:
    return {"author": by, "authorType": "User", "state": state, "submittedAt": at(moment), "body": body, "comments": 0}


OPENED = pull_request(1, "forge/FORGE-1", "forge-coder", "05 16:00", "05 16:00")
OPENED |= {"commits": json.dumps([commit("c1", "05 15:30", "forge-coder")])}
BUILT = pull_request(1, "forge/FORGE-1", "forge-coder", "05 16:00", "07 10:00", **merged("07 10:00", "m1"))
BUILT |= {
    "commits": json.dumps([commit("c1", "05 15:30", "forge-coder"), commit("c2", "06 12:00", "forge-coder")]),
    "reviews": json.dumps(
        [
            review("06 09:00", "forge-reviewer", "APPROVED"),
            review("06 10:00", "ada", "CHANGES_REQUESTED", "Where are the tests?"),
            review("07 09:00", "ada", "APPROVED", "Thanks"),
        ]
    ),
}
SKIPPED = pull_request(2, "FORGE-2", "ben", "06 09:00", "06 09:30", **merged("06 09:30", "m2"))
SKIPPED |= {"commits": json.dumps([commit("d1", "06 08:30", "ben")])}
ALONE = pull_request(3, "chore", "ben", "06 12:00", "06 15:00")
ALONE |= {"reviews": json.dumps([review("06 13:00", "cleo", "APPROVED"), review("06 13:30", "ben", "APPROVED")])}
DEPLOYED = {
    "repository_id": 1,
    "repository": "acme/shop",
    "deployment_id": 500,
    "updated_at": at("07 11:00"),
    "environment": "production",
    "sha": "m1",
    "created_at": at("07 10:30"),
    "state": "ACTIVE",
    "statuses": json.dumps([{"state": "SUCCESS", "createdAt": at("07 11:00")}]),
}

ALL_AT_ONCE: list[list[Load]] = [
    [
        ("jira", {"issues": [CARD, TYPO, IDEA, EPIC], "issue_changelogs": CHANGES}),
        ("langfuse", {"traces": [PLAN, UNLINKED], "observations": CALLS, "scores": [REFUSED]}),
        ("github", {"pull_requests": [BUILT, SKIPPED, ALONE], "deployments": [DEPLOYED]}),
    ]
]
BIT_BY_BIT: list[list[Load]] = [
    [
        # Jira alone: GitHub and Langfuse have not loaded yet, and the refusal is known by the status only.
        ("jira", {"issues": [CARD_NEW, EPIC], "issue_changelogs": CHANGES[:3]}),
    ],
    [
        # The verdict comes before its trace; a run is there before anything is known of its ticket's type.
        (
            "langfuse",
            {"observations": CALLS, "scores": [REFUSED], "traces": [PLAN | {"metadata": "{}", "ticket": None}]},
        ),
        ("github", {"pull_requests": [OPENED, ALONE | {"reviews": "[]", "updated_at": at("06 12:00")}]}),
    ],
    [
        ("langfuse", {"traces": [PLAN | {"updated_at": at("05 10:01")}, UNLINKED]}),
        ("github", {"deployments": [DEPLOYED], "pull_requests": [ALONE]}),
        ("jira", {"issues": [IDEA], "issue_changelogs": CHANGES[6:]}),
    ],
    [
        ("jira", {"issues": [CARD, TYPO], "issue_changelogs": CHANGES[3:6]}),
        ("github", {"pull_requests": [BUILT, SKIPPED]}),
    ],
]

PULL = "https://github.com/acme/shop/pull"
APPROVALS = f"""
- review {PULL}/3: approved by github:cleo (human), evidence review, 06 12:00 to 06 13:00, 3600.0 s, -
FORGE-1 plan 2: rejected by langfuse:ada (human), evidence score, 05 09:00 to 05 11:00, 7200.0 s, Too broad
FORGE-1 plan 4: approved by jira:b1 (human), evidence comment, 05 12:00 to 05 15:00, 10800.0 s, Go on.
FORGE-1 review {PULL}/1: approved by github:ada (human), evidence review, 06 12:00 to 07 09:00, 75600.0 s, Thanks
FORGE-1 review {PULL}/1: rejected by github:ada (human), evidence review, 05 16:00 to 06 10:00, 64800.0 s, \
Where are the tests?
FORGE-3 plan 2: rejected by jira:a1 (human), evidence status, 06 10:00 to 06 10:30, 1800.0 s, -
"""
NEVER: Row = {
    "plan_requested_at": None,
    "plan_approved_at": None,
    "pull_request_opened_at": None,
    "first_reviewed_at": None,
    "approved_at": None,
    "merged_at": None,
    "deployed_at": None,
    "plan_wait_seconds": None,
    "open_wait_seconds": None,
    "review_wait_seconds": None,
    "approve_wait_seconds": None,
    "merge_wait_seconds": None,
    "deploy_wait_seconds": None,
    "plan_rejections": 0,
    "review_rejections": 0,
    "rejection_reasons": [],
}
FUNNEL: dict[str, Row] = {
    "FORGE-1": {
        "issue_type": "Story",
        "proposed_at": "05 08:00",
        "plan_requested_at": "05 09:00",
        "plan_approved_at": "05 15:00",
        "pull_request_opened_at": "05 16:00",
        "first_reviewed_at": "06 10:00",
        "approved_at": "07 09:00",
        "merged_at": "07 10:00",
        "deployed_at": "07 11:00",
        "plan_wait_seconds": 5 * HOUR,
        "open_wait_seconds": HOUR,
        "review_wait_seconds": 18 * HOUR,
        "approve_wait_seconds": 23 * HOUR,
        "merge_wait_seconds": HOUR,
        "deploy_wait_seconds": HOUR,
        "plan_rejections": 1,
        "review_rejections": 1,
        "rejection_reasons": ["Too broad", "Where are the tests?"],
        "reached": "deployed",
    },
    # Merged without a plan or a review; a later deployment carried it.
    "FORGE-2": NEVER
    | {
        "issue_type": "Bug",
        "proposed_at": "06 08:00",
        "pull_request_opened_at": "06 09:00",
        "merged_at": "06 09:30",
        "deployed_at": "07 11:00",
        "open_wait_seconds": HOUR,
        "deploy_wait_seconds": 25.5 * HOUR,
        "reached": "deployed",
    },
    # Refused once, and waits again.
    "FORGE-3": NEVER
    | {
        "issue_type": "Story",
        "proposed_at": "06 09:00",
        "plan_requested_at": "06 10:00",
        "plan_wait_seconds": HOUR / 2,
        "plan_rejections": 1,
        "reached": "proposed",
    },
}
WEEK = {
    # gate: tickets, conversion, median of the wait
    "proposed": (3, 1.0, None),
    "plan_approved": (1, 1 / 3, 5 * HOUR),
    "pull_request_opened": (2, 2 / 3, HOUR),
    "reviewed": (1, 1 / 3, 18 * HOUR),
    "approved": (1, 1 / 3, 23 * HOUR),
    "merged": (2, 2 / 3, HOUR),
    "deployed": (2, 2 / 3, 13.25 * HOUR),
}
LOAD = {
    # person, gate: decisions, approved, rejected, mean of the wait
    ("Ada Lovelace", "plan"): (2, 0, 2, 1.25 * HOUR),
    ("Ada Lovelace", "review"): (2, 1, 1, 19.5 * HOUR),
    ("jira:b1", "plan"): (1, 1, 0, 3 * HOUR),
    ("cleo", "review"): (1, 1, 0, HOUR),
}
AGENTS = {
    # kind, type: opened, merged, reviewed, first pass, intervention, cycles, done, autonomy, runs, failed, retries, $
    ("agent", ""): (1, 1, 1, 0.0, 0.0, 1.0, 1, 0.5, 2, 1, 1, Decimal("0.875000000001")),
    ("agent", "Bug"): (0, 0, 0, None, None, None, 0, 0.0, 0, 0, 0, Decimal(0)),
    ("agent", "Story"): (1, 1, 1, 0.0, 0.0, 1.0, 1, 1.0, 1, 1, 1, Decimal("0.750000000001")),
    ("human", ""): (2, 1, 0, None, None, 0.0, 1, None, 0, 0, 0, None),
    ("human", "Bug"): (1, 1, 0, None, None, 0.0, 1, None, 0, 0, 0, None),
}


def line(row: Row) -> str:
    """A decision, to be read."""
    told = {key: "-" if value is None or value == "" else value for key, value in row.items()}
    return (
        "{ticket_key} {gate} {subject}: {decision} by {approver_system}:{approver_account} ({approver_kind}), "
        "evidence {evidence}, {requested_at} to {decided_at}, {wait_seconds} s, {reason}"
    ).format(**told)


def check(client: Client) -> None:
    decisions = rows(client, "select * from silver.approvals")
    assert sorted(map(line, decisions)) == APPROVALS.strip().splitlines()

    tickets: dict[str, Row] = {row.pop("ticket_key"): row for row in rows(client, "select * from gold.approval_funnel")}
    same = {"ticket_bucket": "FORGE/0", "project_key": "FORGE", "team": "Shop"}
    assert tickets == {key: same | row for key, row in FUNNEL.items()}

    for scope in ("all", "team", "project"):
        gates = client.query(
            "select gate, tickets, conversion, wait_seconds_p50 from gold.approval_funnel_metrics "
            f"where period = 'week' and period_start = '2026-01-05' and scope = '{scope}'"
        ).result_rows
        assert {row[0]: tuple(row[1:]) for row in gates} == WEEK
    days = client.query(
        "select toDayOfMonth(period_start), tickets from gold.approval_funnel_metrics "
        "where period = 'day' and scope = 'all' and gate = 'merged' order by period_start"
    ).result_rows
    assert [tuple(row) for row in days] == [(5, 1), (6, 1)]

    load = client.query(
        "select approver, gate, decisions, approved, rejected, wait_seconds_mean from gold.approver_load "
        "where period = 'month'"
    ).result_rows
    assert {tuple(row[:2]): tuple(row[2:]) for row in load} == LOAD

    agents = client.query(
        "select actor_kind, issue_type, pull_requests_opened, merged, reviewed, first_pass_rate, "
        "human_intervention_rate, revision_cycles_mean, tickets_done, autonomy_rate, agent_runs, failed_runs, "
        "retries, cost_usd from gold.agent_metrics where period = 'month' and scope = 'all'"
    ).result_rows
    assert {tuple(row[:2]): tuple(row[2:]) for row in agents} == AGENTS
    (shop,) = client.query(
        "select period_start, cost_usd, cost_per_merged_pull_request, cost_per_done_ticket, durable_merges "
        "from gold.agent_metrics where period = 'month' and scope = 'team' and actor_kind = 'agent' and issue_type = ''"
    ).result_rows
    # The run that names no ticket belongs to no team.
    assert tuple(shop) == (
        date(2026, 1, 1),
        Decimal("0.750000000001"),
        pytest.approx(0.750000000001),
        pytest.approx(0.750000000001 / 2),
        1,
    )


@pytest.mark.parametrize("steps", [ALL_AT_ONCE, BIT_BY_BIT], ids=["all at once", "bit by bit"])
def test_three_tickets_on_their_way(steps: list[list[Load]], bronze: Any, build: Build, client: Client) -> None:
    def succeed() -> None:
        summary = build(REQUEST)
        assert summary.outcome == "succeeded", summary.model_dump_json()

    write(bronze, steps, succeed)
    check(client)
    grown = all_rows(client, TABLES)
    assert build(REQUEST | {"fullRefresh": True}).outcome == "succeeded"
    assert all_rows(client, TABLES) == grown


def test_without_github_and_langfuse_what_they_tell_is_unknown(bronze: Any, build: Build, client: Client) -> None:
    bronze.write("jira", "jira", "1", **ALL_AT_ONCE[0][0][1])
    summary = build(REQUEST)
    assert summary.outcome == "succeeded", summary.model_dump_json()
    funnel = rows(client, "select ticket_key, plan_rejections, review_rejections, reached from gold.approval_funnel")
    assert sorted(tuple(row.values()) for row in funnel) == [
        # Planning is no status that it came from: without the verdict, going there looks like an approval.
        ("FORGE-1", 0, None, "plan_approved"),
        ("FORGE-2", 0, None, "proposed"),
        ("FORGE-3", 1, None, "proposed"),
    ]
    gates = client.query(
        "select gate, tickets, conversion from gold.approval_funnel_metrics where period = 'month' and scope = 'all'"
    ).result_rows
    unknown = dict.fromkeys(WEEK, (None, None))
    assert {row[0]: tuple(row[1:]) for row in gates} == unknown | {"proposed": (3, 1.0), "plan_approved": (1, 1 / 3)}
    agents = client.query(
        "select actor_kind, pull_requests_opened, tickets_done, agent_runs, cost_usd from gold.agent_metrics "
        "where period = 'month' and scope = 'all' and issue_type = ''"
    ).result_rows
    assert [tuple(row) for row in agents] == [("agent", None, 0, None, None)]
