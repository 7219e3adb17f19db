"""GitHub: answers become rows; marks say what a walk may leave out."""

from datetime import UTC, datetime, timedelta

import orjson
import pytest
from forge_pipelines.problems import LoadError
from forge_pipelines.sources import Credentials, Scope
from forge_pipelines.sources.github import (
    PULL_REQUESTS,
    Mark,
    connect,
    is_past,
    is_settled,
    lowest,
    pull_request_row,
)
from forge_pipelines.sources.github_graph import graphql_path, is_limit
from forge_stack.model import GitHubSource
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def source(**values: object) -> GitHubSource:
    return GitHubSource.model_validate({"credentialsSecretRef": {"name": "s"}, "repositories": ["acme/web"], **values})


def pull_request(**values: object) -> dict[str, object]:
    return {
        "id": "PR_1", "databaseId": None, "number": 7, "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": "2026-01-03T00:00:00Z", "closedAt": None, "mergedAt": None, "title": "T", "body": None,
        "state": "OPEN", "isDraft": False, "url": "u", "author": None, "mergedBy": None, "headRefName": "h",
        "baseRefName": "main", "headRefOid": "abc", "mergeCommit": None, "additions": 1, "deletions": 2,
        "changedFiles": 3, "reviewDecision": None, "labels": None, "reviews": None,
        "commits": {"totalCount": 0, "nodes": []}, "timelineItems": {"nodes": []}, **values,
    }  # fmt: skip


def test_a_bare_pull_request_becomes_a_row() -> None:
    row = pull_request_row("acme/web", pull_request())
    assert PULL_REQUESTS.page([row]).num_rows == 1
    assert (row["author_login"], row["author_type"], row["first_commit_at"]) == (None, None, None)
    assert (row["labels"], row["reviews"], row["commits"]) == ("[]", "[]", "[]")


def test_a_full_pull_request_becomes_a_row() -> None:
    commits = [
        {"commit": {"oid": "b", "authoredDate": "2026-01-02T00:00:00+02:00", "committedDate": "2026-01-02T01:00:00Z",
                    "message": "m", "author": {"name": "Ann", "email": "a@x", "user": {"login": "ann"}}}},
        {"commit": {"oid": "a", "authoredDate": "2026-01-01T10:00:00Z", "committedDate": "2026-01-02T01:00:00Z",
                    "message": "n", "author": {"name": "Bot", "email": None, "user": None}}},
    ]  # fmt: skip
    row = pull_request_row(
        "acme/web",
        pull_request(
            author={"__typename": "Bot", "login": "forge"},
            mergeCommit={"oid": "fff"},
            commits={"totalCount": 260, "nodes": commits},
            labels={"nodes": [{"name": "bug"}, None]},
            reviews={"nodes": [{"author": None, "state": "APPROVED", "submittedAt": None}]},
            timelineItems={"nodes": [{"createdAt": "2026-01-02T00:00:00Z"}, {}, {"createdAt": "2026-01-02T09:00:00Z"}]},
        ),
    )
    assert PULL_REQUESTS.page([row]).num_rows == 1
    assert row["first_commit_at"] == datetime(2026, 1, 1, 10, tzinfo=UTC)
    assert row["ready_for_review_at"] == datetime(2026, 1, 2, 9, tzinfo=UTC)
    assert (row["commits_count"], row["merge_commit_sha"], row["author_type"]) == (260, "fff", "Bot")
    assert orjson.loads(row["labels"]) == ["bug"]
    assert orjson.loads(row["reviews"]) == [
        {"author": None, "authorType": None, "state": "APPROVED", "submittedAt": None}
    ]
    assert [c["author"] for c in orjson.loads(row["commits"])] == ["ann", "Bot"]


def test_graphql_of_github_and_of_enterprise() -> None:
    assert graphql_path("https://api.github.com") == ("https://api.github.com", "/graphql")
    assert graphql_path("https://ghe.example/api/v3/") == ("https://ghe.example/api", "/graphql")
    assert graphql_path("http://127.0.0.1:8000/github") == ("http://127.0.0.1:8000/github", "/graphql")


times = st.none() | st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))


@given(st.builds(Mark, times, st.booleans(), times, st.none() | st.text(min_size=1), times))
def test_a_mark_survives_the_state(mark: Mark) -> None:
    assert Mark.read(orjson.loads(orjson.dumps(mark.write()))) == mark


def test_a_walk_ends_an_overlap_below_the_mark_but_not_below_since() -> None:
    mark = Mark(upto=NOW)
    assert lowest(mark, source(overlap="10m")) == NOW - timedelta(minutes=10)
    since = NOW - timedelta(minutes=3)
    assert lowest(mark, source(since=since)) == since
    assert lowest(Mark(), source(since=since)) == since
    assert lowest(Mark(), source()) is None


def test_a_repository_is_only_skipped_when_nothing_late_can_come() -> None:
    overlap = timedelta(minutes=10)
    assert not is_past(NOW - timedelta(minutes=9), overlap, NOW)
    assert is_past(NOW - timedelta(minutes=11), overlap, NOW)
    scope = Scope({}, NOW)
    assert is_settled(Mark(NOW, settled=True), scope)
    assert not is_settled(Mark(NOW, settled=True, after="c"), scope)
    assert not is_settled(Mark(NOW), scope)
    assert not is_settled(None, scope)
    assert not is_settled(Mark(NOW, settled=True), Scope({}, NOW, (NOW, NOW)))


def test_limits_inside_a_200_are_seen() -> None:
    assert is_limit([{"type": "RATE_LIMITED", "message": "x"}])
    assert is_limit([{"message": "API rate limit exceeded for user"}])
    assert not is_limit([{"type": "NOT_FOUND", "message": "x"}])


def test_credentials() -> None:
    assert connect(source(), Credentials("g", {"token": "t"})).headers["Authorization"] == "Bearer t"
    with pytest.raises(LoadError, match="'token'"):
        connect(source(), Credentials("g", {}))
