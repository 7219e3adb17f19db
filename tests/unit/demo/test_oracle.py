"""The oracle's own numbers, on small histories that can be counted by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from forge_demo import events as ev
from forge_demo import github_events as gh
from forge_demo import oracle
from forge_demo import organisation as org
from forge_demo.oracle.periods import periods, quantile, scopes, seconds, stats

MONDAY = datetime(2026, 3, 2, 9, tzinfo=UTC)
HUMAN, OTHER, CODER = "jonas-b", "priya-n", org.CODER.login


def at(hours: float) -> datetime:
    """A moment so many hours after Monday at nine."""
    return MONDAY + timedelta(hours=hours)


def created(hours: float, key: str = "FLEET-1", issue_type: str = "Story") -> ev.IssueCreated:
    id_ = key.partition("-")[2]
    return ev.IssueCreated(
        at(hours), key, id_, "FLEET", f"Summary {key}", "", issue_type, "Medium", HUMAN, (), None, None, None
    )


def moved(
    hours: float, status: org.Status, key: str = "FLEET-1", by: str = HUMAN, resolve: str | None = None
) -> ev.IssueChanged:
    changes = [ev.Change("status", "status", None, None, status.id, status.name)]
    if resolve is not None:
        changes.append(ev.Change("resolution", "resolution", None, None, None, resolve or None))
    return ev.IssueChanged(at(hours), key, by, tuple(changes))


def commit(hours: float, oid: str, author: str = CODER) -> ev.Commit:
    return ev.Commit(oid, author, at(hours), at(hours), f"Change {oid}", 10, 2)


def opened(
    hours: float, number: int, *commits: ev.Commit, ticket: str | None = "FLEET-1", author: str = CODER, title: str = ""
) -> ev.PullRequestOpened:
    branch = f"forge/{ticket}-x" if ticket else "fix"
    title = title or f"Title {number}"
    return ev.PullRequestOpened(
        at(hours), ticket, f"pr{number}", "fleet-api", author, title, "", branch, False, (), 1, commits
    )


def review(hours: float, number: int, state: str, author: str = HUMAN) -> ev.ReviewSubmitted:
    return ev.ReviewSubmitted(at(hours), "FLEET-1", f"pr{number}", author, state, f"{state} it is")


def merged(hours: float, number: int) -> ev.PullRequestMerged:
    return ev.PullRequestMerged(at(hours), "FLEET-1", f"pr{number}", HUMAN, f"merge{number}")


def deployed(
    begin: float, end: float, sha: str, *, state: str = "success", environment: str = "production"
) -> list[ev.Event]:
    name = f"{sha}/{environment}/{begin}"
    return [
        ev.DeploymentCreated(at(begin), None, name, "fleet-api", sha, environment, HUMAN),
        ev.DeploymentStatusCreated(at(end), None, name, state, HUMAN),
    ]


def ci(hours: float, run: str, sha: str, *conclusions: str, number: int = 1) -> list[ev.Event]:
    """A run with an attempt of ten minutes for each conclusion, an hour apart; its job takes nine of them."""
    found: list[ev.Event] = []
    for attempt, conclusion in enumerate(conclusions, 1):
        begin = at(hours + attempt - 1)
        job = f"{run}/{attempt}"
        found += [
            ev.WorkflowRunStarted(begin, None, run, "fleet-api", "tests", f"pr{number}", sha, "b", CODER, attempt),
            gh.JobStarted(begin, None, job, run, "unit", attempt, None),
            gh.JobCompleted(begin + timedelta(minutes=9), None, job, conclusion, ()),
            ev.WorkflowRunCompleted(begin + timedelta(minutes=10), None, run, conclusion),
        ]
    return found


def ran(
    hours: float, trace: str, *, failed: bool = False, attempt: int = 1, input_tokens: int = 1000
) -> list[ev.Event]:
    call = ev.Observation(
        f"{trace}-call", f"{trace}-root", "GENERATION", "call", at(hours), at(hours + 0.5),
        level="ERROR" if failed else "DEFAULT", status_message="overloaded" if failed else None,
        model="claude-sonnet-4-5", input_tokens=input_tokens, output_tokens=100,
    )  # fmt: skip
    root = ev.Observation(f"{trace}-root", None, "AGENT", "forge.implement", at(hours), at(hours + 1))
    said = (("ticket", "FLEET-1"), ("stage", "implement"), ("attempt", str(attempt)))
    return [
        ev.TraceIngested(
            at(hours + 1), "FLEET-1", trace, "forge.implement", at(hours), "FLEET-1", CODER, "production", None, None,
            (), said, (root, call),
        )
    ]  # fmt: skip


def table(name: str, events: list[Any], **stack: Any) -> list[dict[str, Any]]:
    past = sorted(events, key=lambda event: event.at)
    return oracle.TABLES[name](oracle.Known(past, oracle.Stack(**stack)))


def one(name: str, events: list[Any], **where: Any) -> dict[str, Any]:
    (row,) = [row for row in table(name, events) if where.items() <= row.items()]
    return row


def test_quantiles_lie_between_the_closest_ranks() -> None:
    assert [quantile([40, 10, 30, 20], part) for part in (0.5, 0.75, 0.9)] == pytest.approx([25, 32.5, 37])
    assert quantile([], 0.5) is None and quantile([7], 0.9) == 7
    assert stats("x", [None, 1.0, 3.0]) == {"x_p50": 2.0, "x_p75": 2.5, "x_p90": pytest.approx(2.8), "x_mean": 2.0}


def test_periods_scopes_and_durations() -> None:
    sunday = datetime(2026, 3, 1, 23, 59, tzinfo=UTC)
    assert periods(sunday) == [("day", date(2026, 3, 1)), ("week", date(2026, 2, 23)), ("month", date(2026, 3, 1))]
    assert scopes("a", None, "o/r") == [("all", ""), ("team", "a"), ("repository", "o/r")]
    assert seconds(at(1), at(2)) == 3600 and seconds(at(2), at(1)) is None and seconds(None, at(1)) is None


def test_a_deployment_carries_what_was_merged_before_it() -> None:
    events = [
        opened(1, 1, commit(0, "a")), merged(2, 1),
        opened(2, 2, commit(1, "b")), merged(3, 2),
        opened(9, 3, commit(8, "c")), merged(10, 3),
        *deployed(3, 4, "merge2", state="failure"),
        *deployed(5, 5.5, "merge2", environment="staging"),
        *deployed(5, 6, "merge2"),
        *deployed(11, 12, "merge3"),
    ]  # fmt: skip
    rows = {row["pull_request_number"]: row for row in table("change_lead_times", events)}
    assert [rows[n]["linked_by"] for n in (1, 2, 3)] == ["ancestry", "commit", "commit"]
    assert [rows[n]["deployed_at"] for n in (1, 2, 3)] == [at(6), at(6), at(12)]
    assert rows[1]["excluded_because"] == "baseline" and not rows[1]["is_counted"]
    assert rows[2]["lead_time_seconds"] == 5 * 3600 and rows[3]["lead_time_seconds"] == 4 * 3600
    month = one("dora_metrics", events, period="month", scope="all")
    assert (month["deployments"], month["deployments_attempted_failed"], month["changes"]) == (2, 1, 2)
    assert month["change_lead_time_seconds_p50"] == 4.5 * 3600 and month["deployment_days"] == 1
    assert month["change_fail_rate"] == 0 and month["recovery_time_seconds_mean"] is None
    assert {row["scope"] for row in table("dora_metrics", events)} == {"all", "team", "repository"}


def test_an_incident_is_laid_to_the_deployment_of_its_cause() -> None:
    link = ev.Change("Link", None, None, None, "FLEET-1", "This issue is caused by FLEET-1")
    events = [
        created(0), opened(1, 1, commit(0, "a")), merged(2, 1), *deployed(2, 3, "merge1"),
        created(5, "FLEET-2", "Incident"), ev.IssueChanged(at(5.1), "FLEET-2", HUMAN, (link,)),
        opened(5.2, 2, commit(5.1, "b", HUMAN), ticket="FLEET-2", author=HUMAN, title='FLEET-2: Revert "Title 1"'),
        merged(5.5, 2), moved(6, org.DONE, "FLEET-2", resolve="Done"), *deployed(5.6, 5.9, "merge2"),
    ]  # fmt: skip
    broken, fixed = sorted(table("deployment_outcomes", events), key=lambda row: row["created_at"])
    assert broken["is_failed"] and broken["incident_keys"] == ["FLEET-2"] and broken["change_urls"]
    assert (broken["recovered_at"], broken["recovery_seconds"]) == (at(6), 3 * 3600)
    assert not fixed["is_failed"] and fixed["is_rework"] and fixed["rework_because"] == "FLEET-2"
    week = one("dora_metrics", events, period="week", scope="team")
    assert (week["change_fail_rate"], week["rework_rate"], week["recoveries"]) == (0.5, 0.5, 1)
    flow = one("pull_request_flow", events, pull_request_number=1)
    assert flow["is_reverted"] and flow["reverted_at"] == at(5.5)
    assert one("tickets", events, ticket_key="FLEET-1")["incidents"] == 1


def test_rounds_of_review_and_the_first_pass() -> None:
    answered = commit(4, "b")
    events = [
        opened(1, 1, commit(0, "a")),
        review(2, 1, "COMMENTED", CODER), review(2.5, 1, "CHANGES_REQUESTED"), review(3, 1, "CHANGES_REQUESTED", OTHER),
        ev.CommitsPushed(at(4), "FLEET-1", "pr1", (answered,), 0), review(5, 1, "APPROVED"), merged(6, 1),
    ]  # fmt: skip
    row = one("pull_request_flow", events)
    assert (row["reviews"], row["human_reviews"], row["changes_requested"], row["revision_cycles"]) == (3, 3, 2, 1)
    assert row["is_first_pass"] is False and row["first_reviewed_at"] == at(2.5) and row["approved_at"] == at(5)
    assert [row[f"{part}_seconds"] / 3600 for part in ("coding", "pickup", "review", "merge")] == [1, 1.5, 2.5, 1]
    straight = [opened(1, 1, commit(0, "a")), review(2, 1, "APPROVED"), merged(3, 1)]
    assert one("pull_request_flow", straight)["is_first_pass"] is True
    assert one("pull_request_flow", straight[:1])["is_first_pass"] is None


def test_runs_that_failed_were_fixed_or_were_flaky() -> None:
    events = [
        opened(1, 1, commit(0, "a")), *ci(1, "r1", "a", "failure", "failure"),
        ev.CommitsPushed(at(4), None, "pr1", (commit(4, "b"),), 0), *ci(4, "r2", "b", "failure", "success"),
    ]  # fmt: skip
    row = one("pull_request_flow", events)
    assert (row["ci_runs"], row["first_ci_conclusion"], row["fix_attempts"]) == (2, "failure", 1)
    day = one("ci_metrics", events, period="day", scope="all", workflow="tests")
    assert (day["runs"], day["attempts"], day["passed"], day["first_attempt_passed"], day["flaky_runs"]) == (
        2,
        4,
        1,
        0,
        1,
    )
    assert day["duration_seconds_p50"] == 9 * 60


def test_where_the_time_of_a_ticket_went() -> None:
    events = [
        created(0), moved(2, org.IN_PROGRESS), moved(5, org.IN_REVIEW), moved(6, org.DONE, resolve="Done"),
        moved(10, org.IN_PROGRESS, resolve=""), moved(14, org.DONE, resolve="Done"),
        created(0, "FLEET-2"), created(0, "FLEET-3"), moved(1, org.IN_PROGRESS, "FLEET-3"),
        created(0, "FLEET-4"), moved(1, org.IN_REVIEW, "FLEET-4"),
    ]  # fmt: skip
    row = one("tickets", events, ticket_key="FLEET-1")
    assert [row[f"{kind}_seconds"] / 3600 for kind in ("queue", "active", "waiting")] == [2, 7, 1]
    assert (row["flow_efficiency"], row["reopened"], row["started_at"]) == (0.7, 1, at(2))
    assert (row["lead_time_seconds"], row["cycle_time_seconds"]) == (14 * 3600, 12 * 3600)
    assert one("tickets", events, ticket_key="FLEET-3")["active_seconds"] is None
    stay = one("ticket_stage_times", events, ticket_key="FLEET-1", status="In Progress")
    assert (stay["visits"], stay["seconds"], stay["is_current"]) == (2, 7 * 3600, False)
    week = one("ticket_flow", events, period="week", scope="all", issue_type="")
    assert [week[name] for name in ("created", "started", "resolved", "reopened")] == [4, 3, 1, 1]
    queue = one("ticket_ageing", events, scope="all", status="To Do")
    assert (queue["tickets"], queue["age_seconds_p50"], queue["as_of"]) == (1, 14 * 3600, at(14))


def test_a_status_that_no_ticket_is_in_tells_no_category() -> None:
    events = [created(0), moved(1, org.IN_PROGRESS), moved(2, org.TODO), moved(3, org.IN_PROGRESS)]
    kinds = [(row["status"], row["status_kind"]) for row in table("ticket_stage_times", events)]
    assert sorted(kinds) == [("In Progress", "active"), ("To Do", "active"), ("To Do", "queue")]


def test_who_delivered_and_whether_alone() -> None:
    alone = [
        created(0), moved(1, org.IN_PROGRESS, by=CODER), opened(2, 1, commit(1, "a")), review(3, 1, "APPROVED"),
        merged(4, 1), moved(4, org.DONE, resolve="Done"),
    ]  # fmt: skip
    row = one("tickets", alone)
    assert (row["delivered_by"], row["is_autonomous"], row["has_human_commit"]) == ("agent", True, False)
    helped = [*alone, ev.CommitsPushed(at(3.5), "FLEET-1", "pr1", (commit(3.5, "b", HUMAN),), 0)]
    row = one("tickets", helped)
    assert (row["delivered_by"], row["is_autonomous"], row["has_human_commit"]) == ("mixed", False, True)
    assert one("pull_request_flow", helped)["is_human_intervened"] is True
    back = [*alone, moved(2.5, org.TODO, by=HUMAN), moved(2.6, org.IN_PROGRESS, by=CODER)]
    assert one("tickets", back)["is_autonomous"] is False and one("pull_request_flow", back)["is_human_intervened"]
    agents = one("agent_metrics", alone, period="week", scope="all", actor_kind="agent", issue_type="")
    assert (agents["merged"], agents["first_pass_rate"], agents["autonomy_rate"], agents["tickets_done"]) == (
        1,
        1,
        1,
        1,
    )


def test_money_is_counted_once_to_the_last_digit() -> None:
    events = [created(0), *ran(1, "t1"), *ran(3, "t2", failed=True, attempt=2, input_tokens=1)]
    money = [Decimal("0.0045"), Decimal("0.001503")]
    rows = {row["trace_id"]: row for row in table("agent_runs", events)}
    assert [rows[t]["cost_usd"] for t in ("t1", "t2")] == money
    assert rows["t2"]["is_failed"] and rows["t2"]["error"] == "overloaded" and rows["t2"]["is_retry"]
    assert rows["t1"]["duration_seconds"] == 3600 and rows["t1"]["total_tokens"] == 1100
    ticket = one("tickets", events)
    assert (ticket["cost_usd"], ticket["failed_cost_usd"], ticket["agent_runs"]) == (sum(money), money[1], 2)
    assert sum(row["cost_usd"] for row in table("cost_attribution", events)) == sum(money)
    assert {row["ticket_outcome"] for row in table("cost_attribution", events)} == {"open"}
    deleted = [*events, ev.TraceDeleted(at(9), "FLEET-1", "t1")]
    assert one("ticket_costs", deleted)["cost_usd"] == money[1]


def test_plans_are_decided_by_score_then_comment_then_status() -> None:
    told = [created(0), moved(1, org.PLANNING), moved(2, org.PLAN_REVIEW), *ran(1, "t1")]
    score = ev.ScoreAdded(at(3), "FLEET-1", "s", "t1", "plan_approval", Decimal(0), "ANNOTATION", " Too broad ")
    named = ev.TraceUpdated(at(3), "FLEET-1", "t1", (("approver", HUMAN),))
    comment = ev.CommentAdded(at(3), "FLEET-1", OTHER, "Approved, go")
    on, back = moved(4, org.IN_PROGRESS), moved(4, org.PLANNING)
    by_score = one("approval_funnel", [*told, score, named, comment, on])
    assert by_score["rejection_reasons"] == ["Too broad"] and by_score["plan_approved_at"] is None
    assert by_score["plan_wait_seconds"] == 2 * 3600 and by_score["reached"] == "proposed"
    assert one("approval_funnel", [*told, comment, back])["plan_approved_at"] == at(4)
    assert one("approval_funnel", [*told, back])["plan_rejections"] == 1
    assert one("approval_funnel", [*told, on])["plan_approved_at"] == at(4)
    load = one("approver_load", [*told, score, named, on], period="day")
    assert (load["approver"], load["gate"]) == (f"langfuse:{HUMAN}", "plan")
    assert (load["rejected"], load["wait_seconds_mean"]) == (1, 7200)
    seen = [opened(5, 1, commit(5, "a")), review(6, 1, "APPROVED")]
    load = one("approver_load", [*told, score, named, on, *seen], period="day", gate="plan")
    assert load["approver"] == HUMAN


def test_the_funnel_counts_those_that_came_so_far() -> None:
    events = [
        created(0), opened(2, 1, commit(1, "a")), review(3, 1, "APPROVED"), merged(4, 1), *deployed(4, 5, "merge1"),
        created(0, "FLEET-2"), created(0, "FLEET-3", "Epic"),
    ]  # fmt: skip
    row = one("approval_funnel", events, ticket_key="FLEET-1")
    assert row["reached"] == "deployed" and row["plan_wait_seconds"] is None
    waits = [row[f"{gate}_wait_seconds"] / 3600 for gate in ("open", "review", "approve", "merge", "deploy")]
    assert waits == [2, 1, 0, 1, 1]
    rows = {
        r["gate"]: r for r in table("approval_funnel_metrics", events) if (r["period"], r["scope"]) == ("day", "all")
    }
    assert (rows["merged"]["tickets"], rows["merged"]["conversion"], rows["proposed"]["tickets"]) == (1, 0.5, 2)
    assert rows["plan_approved"]["tickets"] == 0 and rows["deployed"]["wait_seconds_p90"] == 3600


def test_verdicts_meet_what_became_of_the_work() -> None:
    score = ev.ScoreAdded(at(3), "FLEET-1", "s", "t1", "judge_quality", Decimal("0.75"), "EVAL", None)
    events = [
        created(0),
        *ran(1, "t1"),
        score,
        opened(0.5, 1, commit(0, "a")),
        opened(2, 2, commit(1, "b")),
        merged(4, 2),
    ]
    row = one("quality_outcomes", events)
    assert (row["is_merged"], row["value"], row["ticket_outcome"]) == (True, 0.75, "open")
    assert one("quality_metrics", events)["bin"] == "[0.75,1]"
    none = one("quality_outcomes", [created(0), *ran(1, "t1"), replace(score, kind="CATEGORICAL", text="so-so")])
    assert (none["is_merged"], none["value"], none["string_value"]) == (None, None, "so-so")


def test_a_timeline_is_in_order_and_whole() -> None:
    events = [created(0), moved(1, org.IN_PROGRESS), *ran(1, "t1"), opened(2, 1, commit(1.5, "a"))]
    events += [*ci(2, "r1", "a", "success"), review(3, 1, "APPROVED"), merged(4, 1), *deployed(4, 5, "merge1")]
    events.append(moved(4, org.DONE, resolve="Done"))
    rows = sorted(table("ticket_timeline", events), key=lambda row: row["sequence"])
    assert [row["kind"] for row in rows] == [
        "created", "agent_run", "status_changed", "commits_pushed", "ci_run", "pull_request_opened", "reviewed",
        "merged", "resolved", "status_changed", "deployed",
    ]  # fmt: skip
    assert rows[1]["cost_usd"] == Decimal("0.0045") and rows[-2]["title"] == "In Progress -> Done"
    assert rows[-1]["detail"] == "production succeeded" and rows[4]["duration_seconds"] == 9 * 60


def test_an_hour_of_the_platform() -> None:
    def stage(hours: float, run: str) -> list[ev.Event]:
        began = at(hours + 0.5)
        return [
            ev.StageQueued(at(hours), "FLEET-1", run, "FLEET", "plan"),
            ev.StageStarted(began, "FLEET-1", run, "FLEET", "plan", CODER),
            ev.StageEnded(at(hours + 0.6), "FLEET-1", run, "FLEET", "plan", CODER, began, Decimal("0.25"), None),
        ]

    sampled = (at(1) - timedelta(minutes=1), at(2) - timedelta(minutes=1))
    rows = {row["metric"]: row for row in table("platform_hourly", [*stage(0, "a"), *stage(1, "b")], sampled=sampled)}
    queue, cost = rows["forge_queue_depth"], rows["forge_llm_cost_usd_total"]
    assert (queue["series"], queue["samples"], queue["maximum"]) == (6, 360, 1)
    assert queue["average"] == pytest.approx(30 / 360)
    assert (cost["minimum"], cost["maximum"]) == (0, 0.5)


def test_what_is_not_loaded_does_not_count() -> None:
    events = [created(0), opened(1, 1, commit(0, "a")), gh.RepositoryRenamed(at(2), None, "fleet-api", "else", "where")]
    assert table("pull_request_flow", events) == [] and one("tickets", events)["pull_requests"] == 0
    assert table("tickets", events, projects=("PAY",)) == []
    assert table("pull_request_flow", events[:2], topics=("maps",)) == []
