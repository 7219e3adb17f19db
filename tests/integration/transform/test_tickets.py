"""Two tickets and an incident, with all that can happen to them: what gold tells of them, by hand.

The same bronze comes as one load and in parts that overlap; every sequence ends in the same tables.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
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
    "gold.tickets",
    "gold.ticket_stage_times",
    "gold.ticket_flow",
    "gold.ticket_ageing",
    "gold.ticket_timeline",
)
REQUEST = {
    "sources": [{"name": name, "type": name} for name in ("langfuse", "github", "jira")],
    "variables": {"teams": [{"name": "Shop", "repositories": ["acme/shop"], "jira_projects": ["FORGE"]}]},
}


def issue(id_: str, key: str, summary: str, type_: str, status: str, created: str, updated: str, **more: Any) -> Row:
    category = {"To Do": "new", "Done": "done"}.get(status, "indeterminate")
    return {
        "id": id_,
        "key": key,
        "project_key": key.split("-")[0],
        "summary": summary,
        "issue_type": type_,
        "status": status,
        "status_category": category,
        "created_at": at(created),
        "updated_at": at(updated),
    } | more


def person(role: str, name: str) -> Row:
    """A Jira account in a role."""
    return {f"{role}_id": name.lower().replace(" ", "-"), f"{role}_name": name, f"{role}_type": "atlassian"}


def moved(issue_id: str, number: int, moment: str, by: str, before: str, after: str) -> Row:
    return {
        "issue_id": issue_id,
        "history_id": str(number),
        "item_index": 0,
        "created_at": at(moment),
        "field": "status",
        "from_string": before,
        "to_string": after,
        **person("author", by),
    }


CARD = issue("1", "FORGE-1", "Pay by card", "Story", "Done", "05 08:00", "07 10:00", resolved_at=at("07 10:00"))
CARD |= {"resolution": "Done", "story_points": 3, **person("reporter", "Ada"), **person("creator", "Ada")}
REFUND = issue("2", "FORGE-2", "Refund", "Bug", "Coding", "06 12:00", "06 16:00")
REFUND |= {**person("reporter", "Ben"), **person("creator", "Ben"), **person("assignee", "Forge Coder")}
OUTAGE = issue("7", "OPS-7", "Cards fail", "Incident", "Done", "07 12:00", "07 15:00", resolved_at=at("07 15:00"))
OUTAGE |= {
    **person("reporter", "Cleo"),
    "links": json.dumps([{"type": "Problem/Incident", "direction": "inward", "id": "1", "key": "FORGE-1"}]),
}
CHANGES = [
    moved("1", 11, "05 09:10", "Forge Planner", "To Do", "Plan Review"),
    moved("1", 12, "05 10:00", "Ada", "Plan Review", "Coding"),
    moved("1", 13, "06 08:00", "Forge Coder", "Coding", "Code Review"),
    moved("1", 14, "07 10:00", "Ada", "Code Review", "Done"),
    moved("2", 21, "06 13:00", "Forge Coder", "To Do", "Coding"),
    moved("2", 22, "06 15:00", "Ben", "Coding", "To Do"),
    moved("2", 23, "06 16:00", "Ben", "To Do", "Coding"),
    moved("7", 71, "07 15:00", "Cleo", "To Do", "Done"),
]


def trace(id_: str, moment: str, user: str, ticket: str, stage: str, seconds: float) -> Row:
    return {
        "project_id": "p",
        "id": id_,
        "updated_at": at(moment),
        "timestamp": at(moment),
        "name": f"forge.{stage}",
        "user_id": user,
        "metadata": json.dumps({"ticket": ticket, "stage": stage}),
        "ticket": ticket,
        "stage": stage,
        "latency_seconds": seconds,
    }


def call(id_: str, trace_id: str, moment: str, cost: str, tokens: int, **more: Any) -> Row:
    return {
        "project_id": "p",
        "id": id_,
        "trace_id": trace_id,
        "type": "GENERATION",
        "model": "m",
        "updated_at": at(moment),
        "start_time": at(moment),
        "input_tokens": tokens,
        "output_tokens": 1,
        "total_tokens": tokens + 1,
        "total_cost": cost,
    } | more


def score(id_: str, moment: str, name: str, value: float, **more: Any) -> Row:
    return {
        "project_id": "p",
        "id": id_,
        "updated_at": at(moment),
        "timestamp": at(moment),
        "name": name,
        "source": "EVAL",
        "data_type": "NUMERIC",
        "value": value,
        "trace_id": "t1",
    } | more


PLAN = trace("t1", "05 08:30", "forge-planner", "FORGE-1", "plan", 60.5)
CODE = trace("t2", "05 11:00", "forge-coder", "FORGE-1", "implement", 120)
FIX = trace("t3", "06 14:00", "forge-coder", "FORGE-2", "implement", 30)
PLANNED = call("o1", "t1", "05 08:30", "0.25", 10)
CODED = call("o2", "t2", "05 11:00", "0.5", 20, level="ERROR", status_message="out of memory")
FIXED = call("o3", "t3", "06 14:00", "0.125", 5)
SCORES = [
    score("s1", "05 08:40", "judge", 0.75),
    score("s2", "05 09:59", "plan_approval", 1, source="ANNOTATION", author_user_id="u-ada", comment="Go on."),
]


def pull_request(number: int, title: str, branch: str, author: str, **more: Any) -> Row:
    return {
        "repository_id": 1,
        "repository": "acme/shop",
        "number": number,
        "node_id": f"PR{number}",
        "url": f"https://github.com/acme/shop/pull/{number}",
        "title": title,
        "head_ref": branch,
        "base_ref": "main",
        "author_login": author,
        "author_type": "User",
        "state": "OPEN",
    } | more


def commit(oid: str, moment: str, author: str, message: str) -> Row:
    return {"oid": oid, "authoredAt": at(moment), "committedAt": at(moment), "author": author, "authorType": "User"} | {
        "authorEmail": f"{author}@acme.com",
        "message": message,
        "coAuthors": [],
    }


def review(moment: str, state: str) -> Row:
    return {"author": "ada", "authorType": "User", "state": state, "submittedAt": at(moment), "comments": 0}


def event(type_: str, moment: str, actor: str) -> Row:
    return {"type": type_, "at": at(moment), "actor": actor, "subject": None}


OPENED = pull_request(1, "FORGE-1: card", "forge/FORGE-1", "forge-coder") | {
    "created_at": at("05 13:00"),
    "updated_at": at("05 14:00"),
    "first_commit_at": at("05 12:30"),
    "head_sha": "c1",
    "commits": json.dumps([commit("c1", "05 12:30", "forge-coder", "card\n\nand more")]),
    "events": json.dumps([event("ready_for_review", "05 14:00", "forge-coder")]),
}
MERGED = OPENED | {
    "updated_at": at("07 09:00"),
    "state": "MERGED",
    "merged_at": at("07 09:00"),
    "closed_at": at("07 09:00"),
    "merged_by_login": "ada",
    "merged_by_type": "User",
    "merge_commit_sha": "m1",
    "head_sha": "c2",
    "commits": json.dumps(
        [
            commit("c1", "05 12:30", "forge-coder", "card\n\nand more"),
            commit("c2", "06 10:00", "forge-coder", "what Ada said"),
        ]
    ),
    "events": json.dumps(
        [
            event("ready_for_review", "05 14:00", "forge-coder"),
            event("head_ref_force_pushed", "06 10:05", "forge-coder"),
            event("closed", "07 09:00", "ada"),
        ]
    ),
    "reviews": json.dumps([review("06 09:00", "CHANGES_REQUESTED"), review("07 08:00", "APPROVED")]),
}
CLOSED = pull_request(2, "Refund", "FORGE-2-refund", "ben") | {
    "created_at": at("06 17:00"),
    "updated_at": at("06 18:00"),
    "closed_at": at("06 18:00"),
    "state": "CLOSED",
    "first_commit_at": at("06 16:30"),
    "head_sha": "c9",
    "commits": json.dumps([commit("c9", "06 16:30", "ben", "refund")]),
    "events": json.dumps([event("closed", "06 18:00", "ada")]),
}
REPOSITORY = {"repository_id": 1, "repository": "acme/shop"}
RUN = REPOSITORY | {
    "run_id": 31,
    "updated_at": at("05 13:40"),
    "workflow_id": 3,
    "name": "test",
    "event": "pull_request",
    "status": "completed",
    "conclusion": "success",
    "run_attempt": 2,
    "head_branch": "forge/FORGE-1",
    "head_sha": "c1",
    "created_at": at("05 13:05"),
    "run_started_at": at("05 13:30"),
    "actor_login": "forge-coder[bot]",
    "actor_type": "Bot",
    "pull_requests": "[1]",
}
JOBS = [
    REPOSITORY
    | {"job_id": 310 + attempt, "loaded_at": at("05 15:00"), "run_id": 31, "run_attempt": attempt, "name": "unit"}
    | {"status": "completed", "conclusion": ended, "started_at": at(since), "completed_at": at(until)}
    for attempt, ended, since, until in ((1, "failure", "05 13:06", "05 13:10"), (2, "success", "05 13:30", "05 13:40"))
]


def deployment(number: int, environment: str, sha: str, made: str, succeeded: str) -> Row:
    return REPOSITORY | {
        "deployment_id": number,
        "updated_at": at(succeeded),
        "environment": environment,
        "sha": sha,
        "created_at": at(made),
        "creator_login": "github-actions",
        "creator_type": "Bot",
        "state": "ACTIVE",
        "statuses": json.dumps([{"state": "SUCCESS", "createdAt": at(succeeded)}]),
    }


DEPLOYMENTS = [
    deployment(500, "preview", "c2", "06 10:20", "06 10:25"),
    deployment(501, "production", "m1", "07 09:30", "07 09:40"),
]

ALL_AT_ONCE: list[list[Load]] = [
    [
        ("jira", {"issues": [CARD, REFUND, OUTAGE], "issue_changelogs": CHANGES}),
        ("langfuse", {"traces": [PLAN, CODE, FIX], "observations": [PLANNED, CODED, FIXED], "scores": SCORES}),
        (
            "github",
            {
                "pull_requests": [MERGED, CLOSED],
                "workflow_runs": [RUN],
                "workflow_jobs": JOBS,
                "deployments": DEPLOYMENTS,
            },
        ),
    ]
]
BIT_BY_BIT: list[list[Load]] = [
    [
        # The plan's run is known before its call and its scores are, the failed run's call before the run.
        ("jira", {"issues": [CARD | {"status": "To Do", "status_category": "new", "updated_at": at("05 08:00")}]}),
        ("langfuse", {"traces": [PLAN], "observations": [CODED]}),
    ],
    [
        ("github", {"pull_requests": [OPENED]}),
        ("langfuse", {"traces": [CODE], "observations": [PLANNED]}),
    ],
    [
        # Ada's refund has no ticket yet; the deployment comes before the merge is known.
        ("github", {"pull_requests": [CLOSED], "workflow_runs": [RUN], "deployments": DEPLOYMENTS}),
        ("jira", {"issues": [CARD, OUTAGE], "issue_changelogs": CHANGES[2:5] + CHANGES[7:]}),
    ],
    [
        ("github", {"pull_requests": [MERGED], "workflow_jobs": JOBS}),
        ("langfuse", {"traces": [FIX], "observations": [FIXED], "scores": SCORES}),
        ("jira", {"issues": [REFUND], "issue_changelogs": CHANGES[:2] + CHANGES[5:7]}),
    ],
]

PULL = "https://github.com/acme/shop/pull"
TIMELINES = {
    # at, kind | title | detail | actor, actor_kind | ref | source | numbers
    "FORGE-1": f"""
05 08:00 created | Pay by card | Story | Ada, human | FORGE-1 | jira
05 08:30 agent_run | plan | - | forge-planner, agent | t1 | langfuse | 60.5 s, 0.25 USD, 11 tokens
05 08:40 score | judge | - | -, unknown | s1 | langfuse | value 0.75
05 09:10 status_changed | To Do -> Plan Review | - | Forge Planner, agent | FORGE-1/2 | jira
05 09:59 score | plan_approval | Go on. | u-ada, human | s2 | langfuse | value 1.0
05 10:00 plan_decided | approved | Go on. | u-ada, human | FORGE-1/2 | langfuse
05 10:00 status_changed | Plan Review -> Coding | - | Ada, human | FORGE-1/3 | jira
05 11:00 agent_run | implement | out of memory | forge-coder, agent | t2 | langfuse | 120.0 s, 0.5 USD, 21 tokens
05 12:30 commits_pushed | card | acme/shop#1 | forge-coder, agent | {PULL}/1/commits/c1 | github
05 13:00 pull_request_opened | FORGE-1: card | acme/shop#1 | forge-coder, agent | {PULL}/1 | github
05 13:06 ci_run | test | failure | forge-coder, agent | acme/shop/actions/runs/31/attempts/1 | github | 240.0 s
05 13:30 ci_run | test | success | forge-coder, agent | acme/shop/actions/runs/31/attempts/2 | github | 600.0 s
05 14:00 ready_for_review | FORGE-1: card | acme/shop#1 | forge-coder, agent | {PULL}/1 | github
06 08:00 status_changed | Coding -> Code Review | - | Forge Coder, agent | FORGE-1/4 | jira
06 09:00 reviewed | CHANGES_REQUESTED | acme/shop#1 | ada, human | {PULL}/1#review-1 | github
06 10:00 commits_pushed | what Ada said | acme/shop#1 | forge-coder, agent | {PULL}/1/commits/c2 | github
06 10:05 force_pushed | FORGE-1: card | acme/shop#1 | forge-coder, agent | {PULL}/1 | github
06 10:25 deployed | acme/shop | preview succeeded | github-actions, bot | github:1/500 | github
07 08:00 reviewed | APPROVED | acme/shop#1 | ada, human | {PULL}/1#review-2 | github
07 09:00 merged | FORGE-1: card | acme/shop#1 | ada, human | {PULL}/1 | github
07 09:40 deployed | acme/shop | production succeeded | github-actions, bot | github:1/501 | github
07 10:00 resolved | Done | - | -, unknown | FORGE-1 | jira
07 10:00 status_changed | Code Review -> Done | - | Ada, human | FORGE-1/5 | jira
07 12:00 incident_opened | Cards fail | caused by FORGE-1, {PULL}/1 | -, unknown | OPS-7 | jira
07 15:00 incident_resolved | Cards fail | caused by FORGE-1, {PULL}/1 | -, unknown | OPS-7 | jira
""",
    "FORGE-2": f"""
06 12:00 created | Refund | Bug | Ben, human | FORGE-2 | jira
06 13:00 status_changed | To Do -> Coding | - | Forge Coder, agent | FORGE-2/2 | jira
06 14:00 agent_run | implement | - | forge-coder, agent | t3 | langfuse | 30.0 s, 0.125 USD, 6 tokens
06 15:00 status_changed | Coding -> To Do | - | Ben, human | FORGE-2/3 | jira
06 16:00 status_changed | To Do -> Coding | - | Ben, human | FORGE-2/4 | jira
06 16:30 commits_pushed | refund | acme/shop#2 | ben, human | {PULL}/2/commits/c9 | github
06 17:00 pull_request_opened | Refund | acme/shop#2 | ben, human | {PULL}/2 | github
06 18:00 closed | Refund | acme/shop#2 | ada, human | {PULL}/2 | github
""",
}

HOUR = 3600.0
TICKETS: dict[str, Row] = {
    "FORGE-1": {
        "ticket_bucket": "FORGE/0",
        "team": "Shop",
        "is_incident": False,
        "story_points": 3.0,
        "resolution": "Done",
        "reporter_name": "Ada",
        "started_at": "05 09:10",
        "status_entered_at": "07 10:00",
        "resolved_at": "07 10:00",
        "lead_time_seconds": 50 * HOUR,
        "cycle_time_seconds": 48 * HOUR + 3000,
        "queue_seconds": HOUR + 600,
        "active_seconds": 22 * HOUR,
        "waiting_seconds": 26 * HOUR + 3000,
        "flow_efficiency": 22 / 50,
        "reopened": 0,
        "pull_requests": 1,
        "merged_pull_requests": 1,
        "first_commit_at": "05 12:30",
        "first_merged_at": "07 09:00",
        "first_deployed_at": "07 09:40",
        "reviews": 2,
        "changes_requested": 1,
        "incidents": 1,
        "traces": 2,
        "agent_runs": 2,
        "llm_calls": 2,
        "input_tokens": 30,
        "output_tokens": 2,
        "total_tokens": 32,
        "cost_usd": Decimal("0.75"),
        "failed_cost_usd": Decimal("0.5"),
        "has_human_commit": False,
        "delivered_by": "agent",
        # The person who moved it on never sent it back.
        "is_autonomous": True,
        "is_done": True,
    },
    "FORGE-2": {
        "team": "Shop",
        "resolution": None,
        "started_at": "06 13:00",
        "status_entered_at": "06 16:00",
        "lead_time_seconds": None,
        "queue_seconds": None,
        "flow_efficiency": None,
        "reopened": 0,
        "pull_requests": 1,
        "merged_pull_requests": 0,
        "first_deployed_at": None,
        "incidents": 0,
        "agent_runs": 1,
        "cost_usd": Decimal("0.125"),
        "failed_cost_usd": Decimal(0),
        "has_human_commit": True,
        "delivered_by": None,
        "is_autonomous": None,
        "is_done": False,
    },
    "OPS-7": {"team": None, "is_incident": True, "started_at": None, "queue_seconds": 3 * HOUR, "flow_efficiency": 0.0},
}
STAGE_TIMES = {
    ("FORGE-1", "To Do", "queue", 1, HOUR + 600, False),
    ("FORGE-1", "Plan Review", "waiting", 1, 3000.0, False),
    ("FORGE-1", "Coding", "active", 1, 22 * HOUR, False),
    ("FORGE-1", "Code Review", "waiting", 1, 26 * HOUR, False),
    ("FORGE-1", "Done", "done", 1, 0.0, True),
    # Nobody is in To Do now, so Jira does not say what it is: new where a ticket began, in progress where it came back.
    ("FORGE-2", "To Do", "queue", 1, HOUR, False),
    ("FORGE-2", "To Do", "active", 1, HOUR, False),
    ("FORGE-2", "Coding", "active", 2, 2 * HOUR, True),
    ("OPS-7", "To Do", "queue", 1, 3 * HOUR, False),
    ("OPS-7", "Done", "done", 1, 0.0, True),
}


def line(row: Row) -> str:
    """An entry of a timeline, to be read."""
    told = {key: "-" if value is None else value for key, value in row.items()}
    parts = ["{at} {kind}", "{title}", "{detail}", "{actor}, {actor_kind}", "{ref}", "{source}"]
    numbers = [("duration_seconds", "{} s"), ("cost_usd", "{} USD"), ("tokens", "{} tokens"), ("value", "value {}")]
    said = [form.format(_plain(row[name])) for name, form in numbers if row[name] is not None]
    return " | ".join([part.format(**told) for part in parts] + ([", ".join(said)] if said else []))


def _plain(number: float | Decimal) -> float | Decimal:
    return number.normalize() if isinstance(number, Decimal) else number


def check(client: Client) -> None:
    for key, expected in TIMELINES.items():
        found = rows(client, f"select * from gold.ticket_timeline where ticket_key = '{key}' order by sequence")
        assert [line(row) for row in found] == expected.strip().splitlines()
        assert [row["sequence"] for row in found] == list(range(1, len(found) + 1))
        assert {row["ticket_bucket"] for row in found} == {"FORGE/0"}

    tickets: dict[str, Row] = {row["ticket_key"]: row for row in rows(client, "select * from gold.tickets")}
    assert {key: {name: tickets[key][name] for name in TICKETS[key]} for key in tickets} == TICKETS

    stages = client.query(
        "select ticket_key, status, status_kind, visits, seconds, is_current from gold.ticket_stage_times"
    )
    assert {tuple(row) for row in stages.result_rows} == STAGE_TIMES

    (week,) = rows(
        client,
        "select created, started, resolved, reopened, lead_time_seconds_p50, cycle_time_seconds_mean, flow_efficiency "
        "from gold.ticket_flow where period = 'week' and scope = 'team' and issue_type = ''",
    )
    assert week == {
        "created": 2,
        "started": 2,
        "resolved": 1,
        "reopened": 0,
        "lead_time_seconds_p50": 50 * HOUR,
        "cycle_time_seconds_mean": 48 * HOUR + 3000,
        "flow_efficiency": 0.44,
    }
    days = client.query(
        "select toDayOfMonth(period_start), issue_type, created, started, resolved from gold.ticket_flow "
        "where period = 'day' and scope = 'all' order by period_start, issue_type"
    )
    assert [tuple(row) for row in days.result_rows] == [
        (5, "", 1, 1, 0),
        (5, "Story", 1, 1, 0),
        (6, "", 1, 1, 0),
        (6, "Bug", 1, 1, 0),
        (7, "", 1, 0, 2),
        (7, "Incident", 1, 0, 1),
        (7, "Story", 0, 0, 1),
    ]

    # The clock is the outage's last change, 23 hours after the refund's.
    ages = rows(client, "select * from gold.ticket_ageing order by scope")
    assert [(row["scope"], row["scope_value"]) for row in ages] == [("all", ""), ("project", "FORGE"), ("team", "Shop")]
    for row in ages:
        assert (row["status"], row["status_kind"], row["tickets"], row["oldest_ticket_key"], row["as_of"]) == (
            "Coding",
            "active",
            1,
            "FORGE-2",
            "07 15:00",
        )
        assert (row["age_seconds_p90"], row["in_status_seconds_mean"]) == (27 * HOUR, 23 * HOUR)


@pytest.mark.parametrize("steps", [ALL_AT_ONCE, BIT_BY_BIT], ids=["all at once", "bit by bit"])
def test_everything_that_happened_to_two_tickets(
    steps: list[list[Load]], bronze: Any, build: Build, client: Client
) -> None:
    def succeed() -> None:
        summary = build(REQUEST)
        assert summary.outcome == "succeeded", summary.model_dump_json()

    write(bronze, steps, succeed)
    check(client)
    if steps is BIT_BY_BIT:
        grown = all_rows(client, TABLES)
        assert build(REQUEST | {"fullRefresh": True}).outcome == "succeeded"
        assert all_rows(client, TABLES) == grown


@pytest.mark.parametrize(
    ("source", "kinds"),
    [
        ("jira", {"created", "status_changed", "resolved", "plan_decided", "incident_opened", "incident_resolved"}),
        ("langfuse", {"agent_run", "score"}),
        (
            "github",
            {
                "pull_request_opened",
                "commits_pushed",
                "ready_for_review",
                "force_pushed",
                "reviewed",
                "merged",
                "closed",
            }
            | {"ci_run", "deployed"},
        ),
    ],
)
def test_one_source_tells_its_own_part(source: str, kinds: set[str], bronze: Any, build: Build, client: Client) -> None:
    write(bronze, [[load for load in ALL_AT_ONCE[0] if load[0] == source]], lambda: None)
    summary = build(REQUEST | {"sources": [{"name": source, "type": source}]})
    assert summary.outcome == "succeeded", summary.model_dump_json()
    found = rows(client, "select distinct kind from gold.ticket_timeline")
    assert {row["kind"] for row in found} == kinds
    unknown = client.query(
        "select countIf(in_jira), countIf(pull_requests is not null), countIf(cost_usd is not null), count() "
        "from gold.tickets"
    ).result_rows[0]
    assert unknown == {"jira": (3, 0, 0, 3), "github": (0, 2, 0, 2), "langfuse": (0, 0, 2, 2)}[source]
