"""GitHub: answers become rows, odd ones too; marks say what a walk may leave out; windows are cut; tokens renewed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from forge_pipelines.problems import LoadError
from forge_pipelines.sources import Credentials, Scope
from forge_pipelines.sources import github_rows as rows
from forge_pipelines.sources.github import connect, graphql_url
from forge_pipelines.sources.github_actions import Known, RunsMark, Seen, due, first_to_read, narrower, note
from forge_pipelines.sources.github_again import deployment_moved, pull_request_moved
from forge_pipelines.sources.github_graph import Gap, Pace, filled, gaps_of, is_limit, problem
from forge_pipelines.sources.github_ledger import Ledger
from forge_pipelines.sources.github_pages import LISTED, check_rows
from forge_pipelines.sources.github_rows import Place
from forge_pipelines.sources.github_tables import (
    CHECK_RUNS,
    DEPLOYMENTS,
    ISSUES,
    PULL_REQUESTS,
    RELEASES,
    TABLES,
    TAGS,
    WORKFLOW_JOBS,
    WORKFLOW_RUNS,
)
from forge_pipelines.sources.github_walk import Bounds, Mark, is_past, walk
from forge_stack.model import GitHubSource
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PLACE = Place(42, "acme/web")


def source(**values: object) -> GitHubSource:
    return GitHubSource.model_validate({"credentialsSecretRef": {"name": "s"}, "repositories": ["acme/web"], **values})


def pull_request(**values: object) -> dict[str, Any]:
    """A pull request with nothing in it: all that may be null is."""
    return {
        "id": "PR_1", "fullDatabaseId": None, "number": 7, "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": "2026-01-03T00:00:00Z", "closedAt": None, "mergedAt": None, "title": "T", "body": None,
        "state": "OPEN", "isDraft": False, "url": "u", "author": None, "mergedBy": None, "headRefName": "h",
        "baseRefName": "main", "headRefOid": "abc", "headRepository": None, "isCrossRepository": True,
        "mergeCommit": None, "additions": 1, "deletions": 2, "changedFiles": 3, "reviewDecision": None,
        "totalCommentsCount": None, "milestone": None, "statusCheckRollup": None, "labels": None, "assignees": None,
        "reviewRequests": None, "closingIssuesReferences": None, "reviews": None, "comments": None,
        "commits": {"totalCount": 0, "nodes": []}, "timelineItems": {"nodes": []}, **values,
    }  # fmt: skip


def test_a_bare_pull_request_becomes_a_row() -> None:
    row = rows.pull_request_row(PLACE, pull_request())
    assert PULL_REQUESTS.page([row]).num_rows == 1
    assert (row["repository_id"], row["repository"], row["head_repository"]) == (42, "acme/web", None)
    assert (row["author_login"], row["author_type"], row["first_commit_at"]) == (None, None, None)
    assert {row[name] for name in ("labels", "reviews", "commits", "comments", "events", "issue_keys")} == {"[]"}


def test_a_full_pull_request_becomes_a_row() -> None:
    commits = [
        {"commit": {"oid": "b", "authoredDate": "2026-01-02T00:00:00+02:00", "committedDate": "2026-01-02T01:00:00Z",
                    "message": "m\n\nCo-authored-by: Claude <noreply@x>\nco-authored-by:  B <b@x>  \nFixes: AB-9",
                    "author": {"name": "Ann", "email": "a@x", "user": {"__typename": "User", "login": "ann"}}}},
        {"commit": {"oid": "a", "authoredDate": "2026-01-01T10:00:00Z", "committedDate": "2026-01-02T01:00:00Z",
                    "message": "n", "author": {"name": "renovate[bot]", "email": None, "user": None}}},
        {"commit": {"oid": "c", "authoredDate": None, "committedDate": None, "message": None, "author": None}},
        {"commit": None}, None,
    ]  # fmt: skip
    user = {"__typename": "User", "login": "ann"}
    events = [
        {"__typename": "ReadyForReviewEvent", "createdAt": "2026-01-02T09:00:00Z", "actor": None},
        {"__typename": "ReadyForReviewEvent", "createdAt": "2026-01-02T00:00:00Z", "actor": user},
        {"__typename": "ReviewRequestedEvent", "createdAt": "2026-01-02T10:00:00Z", "actor": user,
         "requestedReviewer": {"__typename": "Team", "slug": "core"}},
        {"__typename": "ReviewRequestRemovedEvent", "createdAt": "2026-01-02T11:00:00Z", "actor": user,
         "requestedReviewer": None},
        {"__typename": "HeadRefForcePushedEvent", "createdAt": "2026-01-02T12:00:00Z", "actor": user,
         "beforeCommit": None, "afterCommit": {"oid": "b"}},
        {"__typename": "MergedEvent", "createdAt": "2026-01-02T13:00:00Z", "actor": user, "commit": {"oid": "fff"}},
        {"__typename": "LockedEvent"}, {}, None,
    ]  # fmt: skip
    remark = {"id": "PRRC_1", "fullDatabaseId": "9000000001", "author": {"__typename": "Mannequin", "login": "old"},
              "createdAt": "2026-01-02T08:00:00Z", "updatedAt": "2026-01-02T08:00:00Z", "body": "hm",
              "path": "a.py"}  # fmt: skip
    row = rows.pull_request_row(
        PLACE,
        pull_request(
            fullDatabaseId="3000000000",
            title="AB-1 and AB-1, AB-2; not XAB-3x",
            headRefName="ab-4/AB-5_fix",
            body="see CD-12.",
            author={"__typename": "Bot", "login": "forge"},
            mergeCommit={"oid": "fff"},
            commits={"totalCount": 260, "nodes": commits},
            labels={"nodes": [{"name": "bug"}, None]},
            reviewRequests={"nodes": [{"requestedReviewer": {"__typename": "Team", "slug": "core"}}]},
            reviews={"nodes": [{"id": "PRR_1", "fullDatabaseId": "5", "author": None, "state": "APPROVED",
                                "submittedAt": None, "body": "", "commit": None,
                                "comments": {"totalCount": 1, "nodes": [remark]}}]},
            comments={"nodes": [{"id": "IC_1", "fullDatabaseId": "4", "author": None, "createdAt":
                                 "2026-01-02T07:00:00Z", "updatedAt": "2026-01-02T07:00:00Z", "body": "first"}]},
            closingIssuesReferences={"nodes": [{"number": 3, "url": "i", "repository": {"nameWithOwner": "a/b"}}]},
            timelineItems={"nodes": events},
        ),
    )  # fmt: skip
    assert PULL_REQUESTS.page([row]).num_rows == 1
    assert row["first_commit_at"] == datetime(2026, 1, 1, 10, tzinfo=UTC)
    assert row["ready_for_review_at"] == datetime(2026, 1, 2, 9, tzinfo=UTC)
    assert (row["commits_count"], row["merge_commit_sha"], row["author_type"]) == (260, "fff", "Bot")
    assert row["database_id"] == 3_000_000_000
    (review,) = orjson.loads(row["reviews"])
    assert (review["id"], review["author"], review["state"], review["comments"]) == (5, None, "APPROVED", 1)
    first, second, third = orjson.loads(row["commits"])
    assert (first["author"], first["authorType"]) == ("ann", "User")
    assert first["coAuthors"] == [{"name": "Claude", "email": "noreply@x"}, {"name": "B", "email": "b@x"}]
    assert (second["author"], second["authorType"], third["author"]) == ("renovate[bot]", "Bot", None)
    comments = orjson.loads(row["comments"])
    assert [(c["kind"], c["path"], c["authorType"]) for c in comments] == [
        ("issue", None, None), ("review", "a.py", "Mannequin"),
    ]  # fmt: skip
    shown = orjson.loads(row["events"])
    assert [e["type"] for e in shown] == [
        "ready_for_review", "ready_for_review", "review_requested", "review_request_removed", "head_ref_force_pushed",
        "merged",
    ]  # fmt: skip
    assert [e["subject"] for e in shown] == [None, None, "core", None, None, "fff"]
    assert (shown[4]["before"], shown[4]["after"]) == (None, "b")
    assert orjson.loads(row["requested_reviewers"]) == [{"login": "core", "type": "Team"}]
    assert orjson.loads(row["linked_issues"]) == [{"repository": "a/b", "number": 3, "url": "i"}]
    assert [(k["key"], k["found_in"]) for k in orjson.loads(row["issue_keys"])] == [
        ("AB-1", "title"), ("AB-2", "title"), ("AB-5", "branch"), ("CD-12", "body"), ("AB-9", "commit"),
    ]  # fmt: skip


def test_checks_of_both_kinds_become_rows_once() -> None:
    run = {"__typename": "CheckRun", "id": "CR_1", "databaseId": 11, "name": "test", "status": "IN_PROGRESS",
           "conclusion": None, "startedAt": None, "completedAt": None, "url": "u", "detailsUrl": None,
           "checkSuite": {"databaseId": None, "app": None, "workflowRun": None}}  # fmt: skip
    old = {"__typename": "StatusContext", "id": "SC_1", "context": "ci/jenkins", "state": "FAILURE",
           "createdAt": "2026-01-02T07:00:00Z", "targetUrl": None, "creator": None}  # fmt: skip
    pending = {**old, "id": "SC_2", "state": "PENDING", "context": "ci/slow"}
    nodes = [{"commit": {"oid": "a", "statusCheckRollup": {"contexts": {"nodes": [run, old, pending, None]}}}},
             {"commit": {"oid": "b", "statusCheckRollup": None}}]  # fmt: skip
    pulls = [pull_request(commits={"nodes": nodes}), pull_request(number=8, commits={"nodes": nodes})]
    scope = Scope({}, NOW)
    found = {row["name"] + row["status"]: row for row in check_rows(scope, PLACE, pulls)["check_runs"].to_pylist()}
    assert set(found) == {"testIN_PROGRESS", "ci/jenkinsCOMPLETED", "ci/slowPENDING"} and not scope.misfits
    assert found["testIN_PROGRESS"]["check_run_id"] == 11
    failed, waiting = found["ci/jenkinsCOMPLETED"], found["ci/slowPENDING"]
    later = rows.check_row(PLACE, {**pending, "id": "SC_3", "state": "SUCCESS", "head_sha": "a"}, NOW)
    assert later["check_run_id"] == waiting["check_run_id"], "a later state of a context is the same check"
    assert failed["check_run_id"] < 0 and failed["check_run_id"] != waiting["check_run_id"]
    assert (failed["conclusion"], waiting["conclusion"], waiting["completed_at"]) == ("FAILURE", None, None)
    assert CHECK_RUNS.key == ("repository_id", "check_run_id")


def test_bare_answers_of_all_other_kinds_become_rows() -> None:
    time = "2026-01-01T00:00:00Z"
    issue = {"id": "I_1", "number": 1, "createdAt": time, "updatedAt": time, "title": "t", "state": "OPEN", "url": "u"}
    deployment = {"id": "DE_1", "databaseId": None, "createdAt": time, "updatedAt": time, "commitOid": "a",
                  "environment": None, "originalEnvironment": "prod", "payload": '"{\\"a\\": 1}"', "creator": None,
                  "statuses": {"nodes": [{"state": "SUCCESS", "createdAt": "2026-01-03T00:00:00Z", "creator": None},
                                         {"state": "IN_PROGRESS", "createdAt": "2026-01-02T00:00:00Z"},
                                         {"state": "QUEUED", "createdAt": "2026-01-02T00:00:00Z"}]}}  # fmt: skip
    release = {"id": "RE_1", "databaseId": 5, "tagName": "v1", "isDraft": True, "isPrerelease": False,
               "createdAt": time, "updatedAt": time, "url": "u", "author": None, "tagCommit": None}  # fmt: skip
    light = {"name": "v1", "target": {"__typename": "Commit", "oid": "a"}}
    annotated = {"name": "v2", "target": {"__typename": "Tag", "oid": "t", "message": "m", "tagger": None, "target":
                 {"__typename": "Tag", "oid": "t2", "target": {"oid": "b"}}}}  # fmt: skip
    run = {"id": 1, "updated_at": time, "created_at": time, "workflow_id": 2, "event": "push", "run_number": 3,
           "head_sha": "a", "url": "u", "status": None, "conclusion": None, "actor": None, "pull_requests": None,
           "name": None, "head_branch": None}  # fmt: skip
    job = {"id": 1, "run_id": 1, "name": "j", "status": "queued", "conclusion": None, "started_at": time,
           "completed_at": None, "runner_name": None, "labels": [], "steps": None}  # fmt: skip
    made = rows.deployment_row(PLACE, deployment)
    assert [s["state"] for s in orjson.loads(made["statuses"])] == ["QUEUED", "IN_PROGRESS", "SUCCESS"]
    assert (made["environment"], made["payload"]) == ("prod", '{"a":1}') and made["deployment_id"] < 0
    assert [rows.tag_row(PLACE, tag, NOW)["sha"] for tag in (light, annotated)] == ["a", "b"]
    for table, row in (
        (ISSUES, rows.issue_row(PLACE, issue)),
        (DEPLOYMENTS, made),
        (RELEASES, rows.release_row(PLACE, release)),
        (TAGS, rows.tag_row(PLACE, annotated, NOW)),
        (WORKFLOW_RUNS, rows.run_row(PLACE, run)),
        (WORKFLOW_JOBS, rows.job_row(PLACE, job, NOW)),
    ):
        assert table.page([row]).num_rows == 1
    assert len(TABLES) == 9


@pytest.mark.parametrize(("text", "kept"), [(None, {}), ("", {}), ("{}", {}), ("x: 1", "x: 1"), ("[1]", [1])])
def test_a_payload_is_kept_as_what_it_is(text: str | None, kept: object) -> None:
    assert rows.payload_of(text) == kept


def test_an_unreadable_answer_is_set_aside_and_the_others_are_not() -> None:
    scope = Scope({}, NOW)
    nodes = [pull_request(), pull_request(title=None), {"number": 3}]
    page = scope.page(PULL_REQUESTS, nodes, lambda node: LISTED["pulls"].row(PLACE, node, NOW))
    assert page.num_rows == 1 and [m.column for m in scope.misfits] == ["", "title"]


# Walks


times = st.none() | st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))


@given(st.builds(Mark, times, st.booleans(), times, st.none() | st.text(min_size=1), times))
def test_a_mark_survives_the_state(mark: Mark) -> None:
    assert Mark.read(orjson.loads(orjson.dumps(mark.write()))) == mark


@given(st.builds(RunsMark, times, times, st.none() | st.text(min_size=1), st.none() | st.text(min_size=1), times,
                 st.lists(st.integers(1, 2**40)).map(tuple)))  # fmt: skip
def test_a_mark_of_runs_survives_the_state(mark: RunsMark) -> None:
    assert RunsMark.read(orjson.loads(orjson.dumps(mark.write()))) == mark


def test_a_walk_ends_an_overlap_below_the_mark_but_not_below_since() -> None:
    overlap, mark = timedelta(minutes=10), Mark(upto=NOW)
    assert mark.lowest(None, overlap) == NOW - overlap
    since = NOW - timedelta(minutes=3)
    assert mark.lowest(since, overlap) == Mark().lowest(since, overlap) == since
    assert Mark().lowest(None, overlap) is None


def test_a_listing_is_only_skipped_when_nothing_late_can_come() -> None:
    overlap = timedelta(minutes=10)
    assert not is_past(NOW - timedelta(minutes=9), overlap, NOW) and is_past(NOW - timedelta(minutes=11), overlap, NOW)
    assert Mark(NOW, settled=True).covers(NOW) and Mark(None, settled=True).covers(None)
    assert not Mark(NOW, settled=True, after="c").covers(NOW)
    assert not Mark(NOW).covers(NOW) and not Mark(NOW, settled=True).covers(NOW + timedelta(seconds=1))


@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 9), st.integers(0, 5))
def test_nothing_that_changes_during_walks_is_lost(touched: list[int], size: int, cut: int) -> None:
    """Elements move to the top while pages are read, a walk is cut and goes on: after a quiet walk all is known."""
    world = {n: NOW - timedelta(days=9, minutes=n) for n in range(41)}
    queue, clock = list(touched), [0]

    def pages(after: str | None) -> Any:
        while True:
            order = sorted(((at, n) for n, at in world.items()), reverse=True)
            if after:
                at, number = after.split("|")
                order = [o for o in order if o < (datetime.fromisoformat(at), int(number))]
            part = [{"updatedAt": at.isoformat(), "number": n} for at, n in order[:size]]
            last = order[:size][-1] if order else None
            after = f"{last[0].isoformat()}|{last[1]}" if last and len(order) > size else None
            if queue:
                clock[0] += 1
                world[queue.pop()] = NOW - timedelta(days=1) + timedelta(minutes=clock[0])
            yield part, after
            if after is None:
                return

    known: dict[int, str] = {}
    mark, bounds = Mark(), Bounds(None, timedelta(minutes=10), NOW)
    for attempt in range(3):
        for count, (nodes, after) in enumerate(walk(pages, LISTED["pulls"].stamp, mark, bounds)):
            known |= {node["number"]: node["updatedAt"] for node in nodes}
            mark = Mark.read(after.write())
            if attempt == 0 and count == cut:
                break
    queue.clear()
    for nodes, _ in walk(pages, LISTED["pulls"].stamp, mark, bounds):
        known |= {node["number"]: node["updatedAt"] for node in nodes}
    assert known == {n: at.isoformat() for n, at in world.items()}


def test_a_ledger_gives_states_that_stay_and_forgets_on_another_beginning() -> None:
    ledger = Ledger({}, None)
    ledger.put(1, "pulls", {"upto": "2026-01-01T00:00:00Z"})
    state = ledger.state()
    ledger.put(1, "pulls", {"upto": "2026-02-01T00:00:00Z"})
    assert state["repositories"]["1"]["pulls"]["upto"] == "2026-01-01T00:00:00Z"
    assert ledger.covered([1]) == datetime(2026, 2, 1, tzinfo=UTC) and ledger.covered([1, 2]) is None
    assert Ledger(state, None).of(1, "pulls") and Ledger(state, NOW).of(1, "pulls") is None
    assert Ledger({"repositories": {"a/x": {"upto": "2026-01-01T00:00:00Z"}}}, None).repositories == {}


def test_a_sweep_is_due_a_week_after_the_last_and_goes_on_where_it_was() -> None:
    week, ledger = timedelta(days=7), Ledger({}, None)
    assert not ledger.sweep_is_due(week, NOW), "all was just read"
    assert ledger.sweep_is_due(week, NOW + week) and not ledger.sweep_is_due(timedelta(), NOW + week)
    ledger.swept(5)
    again = Ledger(orjson.loads(orjson.dumps(ledger.state())), None)
    assert again.is_swept(5) and again.sweep_is_due(week, NOW)
    again.sweep_ends(NOW)
    assert not again.is_swept(5) and not again.sweep_is_due(week, NOW)


# Runs


def test_a_window_with_too_many_runs_is_cut_where_the_newest_say() -> None:
    low = NOW - timedelta(days=900)
    newest = [{"created_at": (NOW - n * timedelta(hours=1)).isoformat()} for n in range(100)]
    cut = narrower(low, None, newest)
    assert cut is not None and 700 <= (NOW - cut) / timedelta(hours=1) <= 800, "about 800 runs are above it"
    bunched = [{"created_at": NOW.isoformat()}] * 100
    assert narrower(low, NOW, bunched) == NOW - timedelta(seconds=1)
    assert narrower(NOW - timedelta(seconds=2), NOW, []) == NOW - timedelta(seconds=1)
    assert narrower(NOW - timedelta(seconds=1), NOW, bunched) is None


def test_runs_that_moved_have_their_jobs_read_again() -> None:
    known = {1: Known(NOW, "completed", NOW), 2: Known(NOW, "completed", NOW), 3: Known(NOW, "in_progress", NOW)}
    later = (NOW + timedelta(hours=1)).isoformat()

    def run(number: int, **values: Any) -> dict[str, Any]:
        base = {"id": number, "updated_at": NOW.isoformat(), "created_at": NOW.isoformat(), "status": "completed"}
        return {**base, "head_sha": f"s{number}", **values}

    seen = Seen()
    runs = [run(1), run(2, updated_at=later, status="queued"), run(3, status="in_progress"), run(4)]
    note(seen, runs, known, is_first=False)
    assert (set(seen.fresh), seen.again, seen.moved) == ({4}, {2, 3}, {"s2", "s4"})
    assert due(Scope({}, NOW), PLACE, RunsMark(jobs_upto=NOW, again=(9,)), seen) == (2, 3, 4, 9), (
        "4 is below those that have their jobs"
    )
    assert due(Scope({}, NOW), PLACE, RunsMark(jobs_upto=NOW - timedelta(days=1)), seen) == (2, 3)
    first = Seen()
    note(first, runs, {}, is_first=True)
    assert not first.moved


def test_a_listing_begins_with_unfinished_runs_that_are_near() -> None:
    usual = NOW - timedelta(minutes=10)
    near, far = NOW - timedelta(hours=2), NOW - timedelta(days=3)
    known = {1: Known(NOW, "queued", near), 2: Known(NOW, "queued", far), 3: Known(NOW, "completed", far)}
    assert first_to_read(usual, None, known) == near
    assert first_to_read(usual, far - timedelta(days=1), known) == far - timedelta(days=1)


# What moves without telling


def test_what_moved_is_seen() -> None:
    row = {"updated_at": NOW, "head_sha": "a", "checks_state": "PENDING", "comments_count": 2}
    node = {"updatedAt": NOW.isoformat(), "headRefOid": "a", "statusCheckRollup": {"state": "PENDING"},
            "totalCommentsCount": 2}  # fmt: skip
    assert not pull_request_moved(node, row)
    assert pull_request_moved({**node, "statusCheckRollup": {"state": "SUCCESS"}}, row)
    assert pull_request_moved({**node, "totalCommentsCount": 3}, row)
    kept = {"updated_at": NOW, "state": "ACTIVE", "statuses": '[{"createdAt": "2026-03-01T00:00:00Z"}]'}
    shown = {"updatedAt": NOW.isoformat(), "state": "ACTIVE", "latestStatus": {"createdAt": NOW.isoformat()}}
    assert not deployment_moved(shown, kept)
    assert deployment_moved({**shown, "latestStatus": {"createdAt": (NOW + timedelta(1)).isoformat()}}, kept)
    assert deployment_moved({**shown, "state": "INACTIVE"}, kept)


# GraphQL


def test_connections_inside_connections_are_followed() -> None:
    more = {"hasNextPage": True, "endCursor": "x"}
    context = {"totalCount": 30, "nodes": [{}], "pageInfo": more}
    commit = {"id": "C_1", "statusCheckRollup": {"contexts": context}}
    review = {"id": "PRR_1", "comments": {"nodes": [], "pageInfo": more}}
    node = pull_request(
        commits={"nodes": [{"commit": commit}], "pageInfo": more}, reviews={"nodes": [review]}, labels=None
    )
    gaps = {(gap.owner, gap.id, gap.name) for gap in gaps_of("PullRequest", node)}
    assert gaps == {
        ("PullRequest", "PR_1", "commits"), ("Commit", "C_1", "contexts"), ("PullRequestReview", "PRR_1", "comments"),
    }  # fmt: skip
    found: list[Any] = []
    gap = Gap("PullRequest", "PR_1", "commits", "x", found)
    answer = {"commits": {"nodes": [{"commit": commit}], "pageInfo": {"hasNextPage": False}}}
    assert [(g.owner, g.id) for g in filled(gap, answer)] == [("Commit", "C_1")] and len(found) == 1
    assert list(filled(gap, None)) == []


def test_a_pace_halves_and_grows_again() -> None:
    pace = Pace(50)
    pace.slower()
    assert pace.size == 25
    for _ in range(9):
        pace.faster()
    assert pace.size == 50


def test_limits_inside_a_200_are_seen() -> None:
    assert is_limit([{"type": "RATE_LIMITED", "message": "x"}])
    assert is_limit([{"message": "API rate limit exceeded for user"}])
    assert not is_limit([{"type": "NOT_FOUND", "message": "x"}])


@pytest.mark.parametrize(
    ("error", "reason", "remedy"),
    [
        ({"type": "FORBIDDEN", "extensions": {"saml_failure": True}}, "Forbidden", "SAML single sign-on"),
        ({"type": "INSUFFICIENT_SCOPES"}, "Forbidden", "lacks a scope"),
        ({"type": "FORBIDDEN"}, "Forbidden", "right to read"),
        ({"type": "NOT_FOUND"}, "NotFound", "correct the name"),
        ({"type": "SERVICE_UNAVAILABLE"}, "BadResponse", "answers an error"),
    ],
)
def test_errors_are_told_with_their_remedy(error: dict[str, Any], reason: str, remedy: str) -> None:
    found = problem([error], "said so", "organization acme", "api.github.com")
    assert found.reason == reason and remedy in found.message and "said so" in found.message


def test_graphql_of_github_and_of_enterprise() -> None:
    assert graphql_url("https://api.github.com") == "https://api.github.com/graphql"
    assert graphql_url("https://ghe.example/api/v3/") == "https://ghe.example/api/graphql"


# Who the load is


def test_a_token_is_a_bearer() -> None:
    assert connect(source(), Credentials("g", {"token": "t"})).headers["Authorization"] == "Bearer t"
    with pytest.raises(LoadError, match="'token'"):
        connect(source(), Credentials("g", {}))


def test_an_app_gets_installation_tokens_and_renews_them(monkeypatch: pytest.MonkeyPatch) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    ).decode()
    api = connect(source(), Credentials("g", {"appId": "12", "installationId": "34", "privateKey": pem}))
    clock, asked = [NOW.timestamp()], []

    def send(method: str, path: str, *, headers: dict[str, str], **_: Any) -> Any:
        asked.append((method, path))
        claims = jwt.decode(
            headers["Authorization"].removeprefix("Bearer "), key.public_key(), ["RS256"], options={"verify_exp": False,
            "verify_iat": False},
        )  # fmt: skip
        assert claims["iss"] == "12" and claims["exp"] - claims["iat"] <= 600
        ends = datetime.fromtimestamp(clock[0], UTC) + timedelta(hours=1)
        return {"token": f"ghs_{len(asked)}", "expires_at": ends.isoformat()}

    monkeypatch.setattr(api, "clock", lambda: clock[0])
    monkeypatch.setattr(api, "send", send)
    assert api.authorise is not None
    assert api.authorise(False) == api.authorise(False) == {"Authorization": "Bearer ghs_1"}
    assert asked == [("POST", "/app/installations/34/access_tokens")]
    clock[0] += 3400
    assert api.authorise(False) == {"Authorization": "Bearer ghs_2"}, "before it ends"
    assert api.authorise(True) == {"Authorization": "Bearer ghs_3"}, "after a 401"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"appId": "1", "privateKey": "k"}, "'installationId'"),
        ({"privateKey": "k"}, "'appId'"),
        ({"appId": "1", "installationId": "2", "privateKey": "n0t-a-key"}, "no RSA private key"),
    ],
)
def test_an_app_that_lacks_something_is_told(values: dict[str, str], text: str) -> None:
    with pytest.raises(LoadError, match=text) as found:
        authorise = connect(source(), Credentials("g", values)).authorise
        assert authorise is not None
        authorise(False)
    assert found.value.reason == "InvalidConfiguration" and "n0t-a-key" not in str(found.value)
