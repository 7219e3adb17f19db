"""Jira: answers become rows; searches are bounded in a way that no zone or minute can hide an update."""

from datetime import UTC, date, datetime, timedelta

import orjson
import pytest
from forge_pipelines.problems import LoadError
from forge_pipelines.sources import Credentials, Scope
from forge_pipelines.sources.jira import (
    CHANGELOGS,
    ISSUES,
    Walk,
    begin,
    connect,
    history_rows,
    history_time,
    issue_row,
    jql,
    updated,
    walks,
)
from forge_stack.model import JiraSource

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def source(**values: object) -> JiraSource:
    return JiraSource.model_validate(
        {"url": "https://x.atlassian.net", "credentialsSecretRef": {"name": "s"}, "projects": ["AB", "CD"], **values}
    )


ISSUE = {
    "id": "10001",
    "key": "AB-7",
    "fields": {
        "summary": "Ünïcode ✓",
        "issuetype": {"name": "Bug"},
        "project": {"key": "AB"},
        "status": {"name": "In Arbeit", "statusCategory": {"id": 4, "key": "indeterminate"}},
        "priority": {"name": "High"},
        "resolution": None,
        "assignee": {"accountId": "5f", "displayName": "Ann"},
        "reporter": {"key": "JIRAUSER1", "name": "bob", "displayName": "Bob"},
        "parent": {"id": "1", "key": "AB-1"},
        "labels": ["a", "b c"],
        "created": "2026-02-01T10:00:00.000+0100",
        "updated": "2026-02-03T23:59:59.999-0800",
        "resolutiondate": None,
        "duedate": "2026-04-01",
        "customfield_1": {"value": "x"},
        "customfield_2": None,
    },
}


def test_an_issue_becomes_a_row() -> None:
    row = issue_row(source(customFields=["customfield_1", "customfield_2", "customfield_3"]))(ISSUE)
    assert ISSUES.page([row]).num_rows == 1
    assert row["updated_at"] == datetime(2026, 2, 4, 7, 59, 59, 999000, tzinfo=UTC)
    assert (row["key"], row["project_key"], row["parent_key"]) == ("AB-7", "AB", "AB-1")
    assert (row["status"], row["status_category"], row["resolution"]) == ("In Arbeit", "indeterminate", None)
    assert (row["assignee_id"], row["reporter_id"], row["reporter_name"]) == ("5f", "JIRAUSER1", "Bob")
    assert (row["due_date"], row["resolved_at"]) == (date(2026, 4, 1), None)
    assert orjson.loads(row["custom_fields"]) == {"customfield_1": {"value": "x"}, "customfield_2": None}
    assert orjson.loads(row["labels"]) == ["a", "b c"]


def test_a_bare_issue_becomes_a_row() -> None:
    bare = {"id": 3, "key": "A-B-3", "fields": {"updated": "2026-02-03T00:00:00Z", "created": "2026-02-03T00:00:00Z"}}
    row = issue_row(source())(bare)
    assert ISSUES.page([row]).to_pylist()[0]["id"] == "3"
    assert (row["project_key"], row["summary"], row["assignee_id"]) == ("A-B", "", None)


def test_a_history_becomes_a_row_an_item() -> None:
    history = {
        "id": "57",
        "author": None,
        "created": "2021-01-25T11:09:27.985+0800",
        "items": [
            {"field": "status", "fieldId": "status", "from": "1", "fromString": "Open", "to": "2", "toString": "Done"},
            {"field": "Link", "from": None, "fromString": None, "to": 5, "toString": "x"},
        ],
    }
    rows = list(history_rows("10001", "AB-7", history))
    assert CHANGELOGS.page(rows).num_rows == 2
    assert [(r["item_index"], r["field"], r["field_id"], r["from_string"], r["to_value"]) for r in rows] == [
        (0, "status", "status", "Open", "2"),
        (1, "Link", None, None, "5"),
    ]
    assert rows[0]["author_id"] is None
    assert list(history_rows("1", "A-1", {"id": "1", "created": None, "items": []})) == []


def test_bulk_changelogs_may_tell_time_in_milliseconds() -> None:
    assert history_time(1_611_544_167_985) == datetime(2021, 1, 25, 3, 9, 27, 985000, tzinfo=UTC)


def test_the_search_is_bounded_by_epoch_milliseconds_and_ordered() -> None:
    assert jql(["AB", "CD"], datetime(2026, 1, 1, tzinfo=UTC)) == (
        'project in ("AB", "CD") AND updated >= 1767225600000 ORDER BY updated ASC, key ASC'
    )
    assert jql(["AB"], None) == 'project in ("AB") ORDER BY updated ASC, key ASC'


def test_a_search_begins_an_overlap_earlier_on_a_whole_minute_but_not_before_since() -> None:
    mark = datetime(2026, 2, 1, 12, 30, 45, 123000, tzinfo=UTC)
    assert begin(source(overlap="1h"), mark) == datetime(2026, 2, 1, 11, 30, tzinfo=UTC)
    since = mark - timedelta(minutes=5)
    assert begin(source(overlap="1h", since=since), mark) == since
    assert begin(source(since=since), None) == since
    assert begin(source(), None) is None


def test_a_new_project_is_searched_from_the_start_beside_the_known_ones() -> None:
    mark = "2026-02-01T00:00:00Z"
    found = walks(source(), Scope({}, NOW), {"AB": mark})
    assert {walk.projects: walk.start for walk in found} == {
        ("AB",): datetime(2026, 1, 31, 23, tzinfo=UTC),
        ("CD",): None,
    }
    assert [w.projects for w in walks(source(), Scope({}, NOW), {"AB": mark, "CD": mark})] == [("AB", "CD")]


def test_a_backfill_is_its_window() -> None:
    window = (NOW - timedelta(days=2), NOW)
    assert walks(source(), Scope({}, NOW, window), {"AB": "2026-02-01T00:00:00Z"}) == [Walk(("AB", "CD"), *window)]


def test_an_issue_without_update_is_refused() -> None:
    with pytest.raises(LoadError, match="AB-1 has no time of update"):
        updated({"key": "AB-1", "fields": {}})


def test_credentials_tell_cloud_from_data_center() -> None:
    assert connect(source(), Credentials("j", {"email": "a@b", "token": "t"})).basic == ("a@b", "t")
    assert connect(source(), Credentials("j", {"token": "t"})).headers == {"Authorization": "Bearer t"}
    with pytest.raises(LoadError, match="'token'"):
        connect(source(), Credentials("j", {"email": "a@b"}))
