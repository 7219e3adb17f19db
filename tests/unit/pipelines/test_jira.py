"""Jira: answers become rows; searches are bounded in a way that no zone or minute can hide an update."""

from datetime import UTC, date, datetime, timedelta

import orjson
import pytest
from forge_pipelines.problems import LoadError
from forge_pipelines.sources import Credentials, Scope
from forge_pipelines.sources.jira import Walk, begin, connect, selection, walks
from forge_pipelines.sources.jira_projects import A_LOAD, turn
from forge_pipelines.sources.jira_rows import (
    Fields,
    IssueRow,
    change_row,
    changes,
    event_of,
    history_time,
    meaning,
    project_row,
    sprint_row,
    sprint_text,
    updated,
    user_id,
    version_row,
)
from forge_pipelines.sources.jira_site import Search, reached
from forge_pipelines.sources.jira_tables import CHANGELOGS, ISSUES, PROJECTS, SPRINTS, VERSIONS
from forge_pipelines.sources.jira_text import plain
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
    row = IssueRow(source(customFields=["customfield_1", "customfield_2", "customfield_3"]))(ISSUE)
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
    row = IssueRow(source())(bare)
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
    rows = [change_row(change) for change in changes("10001", "AB-7", history)]
    assert CHANGELOGS.page(rows).num_rows == 2
    assert [(r["item_index"], r["field"], r["field_id"], r["from_string"], r["to_value"]) for r in rows] == [
        (0, "status", "status", "Open", "2"),
        (1, "Link", None, None, "5"),
    ]
    assert rows[0]["author_id"] is None
    assert list(changes("1", "A-1", {"id": "1", "created": None, "items": []})) == []
    assert list(changes("1", "A-1", {"id": "1", "created": None})) == []


def test_bulk_changelogs_may_tell_time_in_milliseconds_or_seconds() -> None:
    assert history_time(1_611_544_167_985) == datetime(2021, 1, 25, 3, 9, 27, 985000, tzinfo=UTC)
    assert history_time(1_492_070_429) == datetime(2017, 4, 13, 8, 0, 29, tzinfo=UTC)


def test_the_search_is_bounded_by_epoch_milliseconds_and_ordered() -> None:
    assert Search(("AB", "CD"), datetime(2026, 1, 1, tzinfo=UTC)).jql == (
        'project in ("AB", "CD") AND updated >= 1767225600000 ORDER BY updated ASC, key ASC'
    )
    assert Search(("AB",)).jql == 'project in ("AB") ORDER BY updated ASC, key ASC'
    assert Search(("AB",), None, "created", "sprint in (1)").jql == (
        'project in ("AB") AND sprint in (1) ORDER BY created ASC, key ASC'
    )


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


# Odd answers


def issue(**fields: object) -> dict[str, object]:
    return {**ISSUE, "fields": {**ISSUE["fields"], **fields}}  # type: ignore[dict-item]


NO_FIELDS = Fields()


def row_of(given: object, fields: Fields = NO_FIELDS, **values: object) -> dict[str, object]:
    scope = Scope({}, NOW)
    rows = scope.page(ISSUES, [given], IssueRow(source(**values), fields)).to_pylist()
    assert scope.misfits == []
    return dict(rows[0])


def test_everything_that_an_issue_may_have() -> None:
    row = row_of(
        issue(
            issuetype={"id": "5", "name": "Sub-task", "subtask": True},
            status={"id": 3, "name": "Done", "statusCategory": None},
            creator={"accountId": "", "displayName": "Former user", "accountType": "atlassian"},
            reporter={"accountId": "qm:1", "displayName": "Kunde", "accountType": "customer"},
            components=[{"id": "1", "name": "API"}],
            fixVersions=[{"id": 9, "name": "1.0"}],
            versions=None,
            issuelinks=[
                {"id": "1", "type": {"name": "Blocks"}, "outwardIssue": {"id": "7", "key": "CD-1"}},
                {"id": "2", "type": {"name": "Cloners"}, "inwardIssue": {"id": "8", "key": "XX-2"}},
            ],
            timeoriginalestimate=3600,
            timespent=None,
            customfield_20=[{"id": 4, "name": "Sprint 4", "state": "ACTIVE"}],
            customfield_21=None,
            customfield_22="5.0",
            environment={"type": "doc", "content": [{"type": "paragraph", "content": [{"type": "text", "text": "x"}]}]},
        ),
        Fields(("customfield_20",), ("customfield_21", "customfield_22")),
    )
    assert (row["is_subtask"], row["issue_type_id"], row["status_id"], row["status_category"]) == (True, "5", "3", "")
    assert (row["creator_id"], row["creator_name"], row["reporter_type"]) == (None, "Former user", "customer")
    assert orjson.loads(str(row["components"])) == [{"id": "1", "name": "API"}]
    assert orjson.loads(str(row["fix_versions"])) == [{"id": "9", "name": "1.0"}]
    assert row["affects_versions"] == "[]"
    assert orjson.loads(str(row["links"])) == [
        {"type": "Blocks", "direction": "outward", "id": "7", "key": "CD-1"},
        {"type": "Cloners", "direction": "inward", "id": "8", "key": "XX-2"},
    ]
    assert (row["original_estimate_seconds"], row["time_spent_seconds"], row["story_points"]) == (3600, None, 5.0)
    assert orjson.loads(str(row["sprints"])) == [{"id": 4, "name": "Sprint 4", "state": "active"}]
    assert row["environment"] == "x"


@pytest.mark.parametrize(
    "odd",
    [
        {"status": None, "issuetype": None, "priority": None, "project": None, "parent": None, "labels": None},
        {"assignee": {}, "reporter": {"accountId": None, "displayName": None}, "creator": "ghost"},
        {"comment": None},
        {"comment": {"comments": None}},
        {"comment": []},
        {"issuelinks": None, "components": None, "fixVersions": None},
        {"issuelinks": [{"id": "1"}]},
        {"description": "x" * 10_000_000},
        {"description": {"type": "doc", "content": None}},
        {"description": "<p>html</p>", "environment": 7},
        {"summary": "\u200b四个排序图 🦄 \udcff".encode("utf-8", "replace").decode()},
        {"customfield_20": "nonsense"},
        {"customfield_20": [None, {"id": None}, "Sprint@1f[", {"id": "x"}]},
        {"customfield_21": {"value": 3}},
        {"customfield_21": True},
        {"customfield_21": "NaN"},
        {"statuscategorychangedate": None, "unknown": object},
    ],
)
def test_odd_issues_lose_no_row(odd: dict[str, object]) -> None:
    row = row_of(issue(**odd), Fields(("customfield_20",), ("customfield_21",)))
    assert row["id"] == "10001" and row["sprints"] == "[]" and row["story_points"] is None


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"id": "1", "key": "AB-1"}, "fields"),
        (issue(updated=None), "no time of update"),
        (issue(created="yesterday"), "yesterday"),
        (issue(created=None), "must be timestamp"),
        (issue(timespent="long"), "long"),
        ("no object", "TypeError"),
    ],
)
def test_broken_issues_are_set_aside_whole(broken: object, says: str) -> None:
    scope = Scope({}, NOW)
    page = scope.page(ISSUES, [broken, ISSUE], IssueRow(source()))
    assert page.num_rows == 1
    (misfit,) = scope.misfits
    assert says in misfit.problem and orjson.loads(misfit.payload) == broken


def test_a_history_of_odd_values_is_kept() -> None:
    history = {
        "id": 9,
        "author": {"name": "bob", "key": "JIRAUSER1"},
        "created": 1_611_544_167_985,
        "items": [
            {"field": "Rank", "from": "", "fromString": "", "to": "", "toString": "Ranked higher"},
            {"field": None, "from": {"a": 1}, "to": 5},
        ],
    }
    scope = Scope({}, NOW)
    rows = scope.page(CHANGELOGS, changes("1", "AB-1", history), change_row).to_pylist()
    assert [(r["field"], r["from_value"], r["to_value"]) for r in rows] == [("Rank", "", ""), ("", '{"a":1}', "5")]
    assert rows[0]["author_id"] == "JIRAUSER1" and rows[0]["author_type"] is None
    assert user_id({"name": "only"}) == "only" and user_id({}) is None and user_id(None) is None
    scope.page(
        CHANGELOGS, changes("1", "AB-1", {"id": 1, "created": "2026-01-01T00:00:00Z", "items": ["x"]}), change_row
    )
    assert len(scope.misfits) == 1


def test_sprints_in_data_centers_text_form() -> None:
    told = (
        "com.atlassian.greenhopper.service.sprint.Sprint@6e4a[id=12,rapidViewId=3,state=CLOSED,name=Q1, part [2],"
        "startDate=2026-01-05T09:00:00.000+01:00,endDate=2026-01-19T09:00:00.000+01:00,completeDate=<null>,"
        "activatedDate=<null>,sequence=12,goal=ship it, id=7 too]"
    )
    parsed = sprint_text(told)
    assert parsed is not None
    row = SPRINTS.page([sprint_row(NOW)(parsed)]).to_pylist()[0]
    assert (row["sprint_id"], row["board_id"], row["state"], row["name"]) == (12, 3, "closed", "Q1, part [2]")
    assert row["start_at"] == datetime(2026, 1, 5, 8, tzinfo=UTC) and row["completed_at"] is None
    assert row["goal"] == "ship it, id=7 too"
    assert orjson.loads(str(row_of(issue(customfield_20=[told]), Fields(("customfield_20",)))["sprints"])) == [
        {"id": 12, "name": "Q1, part [2]", "state": "closed"}
    ]
    assert sprint_text("[]") == {} and sprint_text("Sprint") is None


def test_sprint_and_story_points_are_found_by_their_schemas() -> None:
    listed = [
        {
            "id": "customfield_1",
            "name": "Sprint",
            "schema": {"type": "array", "custom": "com.pyxis.greenhopper.jira:gh-sprint"},
        },
        {"id": "customfield_2", "name": "Story Points", "schema": {"type": "number", "custom": "com.x:float"}},
        {
            "id": "customfield_3",
            "name": "Schätzung",
            "schema": {"type": "number", "custom": "com.pyxis.greenhopper.jira:jsw-story-points"},
        },
        {"id": "customfield_4", "name": "Story points", "schema": {"type": "string", "custom": "com.x:text"}},
        {"id": "customfield_5", "name": "Story Points", "schema": None},
        {"id": "summary", "name": "Sprint", "schema": {"type": "string", "system": "summary"}},
        {"name": "no id"},
        None,
    ]
    assert meaning(listed, None) == Fields(("customfield_1",), ("customfield_3", "customfield_2"))
    assert meaning(listed, "customfield_9") == Fields(("customfield_1",), ("customfield_9",))
    assert meaning({"message": "no"}, None) == Fields()


def test_comments_become_events_by_the_first_pattern_that_is_found() -> None:
    events = source().comment_events
    for text, event in (
        ("/approve", "approval"),
        ("LGTM, or not?", "approval"),
        ("Rejected: too broad", "rejection"),
        ("Shall I go on?  \n", "question"),
        ("Done.", None),
        ("", None),
        ("word " * 2_000_000 + "really?", "question"),
    ):
        assert event_of(text, events) == event, text[:20]
    own = source(commentEvents={"approval": "^ja$", "rejection": "^nein$", "question": "wie"}).comment_events
    assert [event_of(t, own) for t in ("ja", "nein", "wie viel", "/approve")] == [
        "approval",
        "rejection",
        "question",
        None,
    ]


def test_comments_keep_who_when_and_what() -> None:
    comment = {
        "id": 5,
        "author": None,
        "created": "2026-01-01T10:00:00.123+0100",
        "updated": None,
        "body": {
            "type": "doc",
            "content": [{"type": "paragraph", "content": [{"type": "text", "text": "Approved ✅"}]}],
        },
    }
    row = row_of(issue(comment={"comments": [comment], "total": 1}))
    assert orjson.loads(str(row["comments"])) == [
        {
            "id": "5",
            "authorId": None,
            "author": None,
            "authorType": None,
            "createdAt": "2026-01-01T09:00:00.123000Z",
            "updatedAt": None,
            "body": "Approved ✅",
            "event": "approval",
        }
    ]


def node(kind: str, *content: object, **attrs: object) -> dict[str, object]:
    return {"type": kind, "content": list(content), "attrs": attrs}


def words(text: str) -> dict[str, object]:
    return {"type": "text", "text": text, "marks": [{"type": "strong"}]}


def test_documents_become_text() -> None:
    doc = node(
        "doc",
        node("heading", words("Plan"), level=2),
        node(
            "paragraph",
            words("Ask "),
            node("mention", id="1", text="@Ann"),
            words(" on "),
            node("date", timestamp="1767225600000"),
        ),
        node(
            "orderedList",
            node("listItem", node("paragraph", words("one"))),
            node("listItem", node("paragraph", words("two"))),
        ),
        node(
            "bulletList",
            node(
                "listItem",
                node("paragraph", words("a")),
                node("bulletList", node("listItem", node("paragraph", words("b")))),
            ),
        ),
        node("taskList", node("taskItem", words("did"), state="DONE"), node("taskItem", words("do"), state="TODO")),
        node("codeBlock", words("x = 1\ny = 2"), language="python"),
        node(
            "table",
            node(
                "tableRow",
                node("tableHeader", node("paragraph", words("k"))),
                node("tableCell", node("paragraph", words("v"))),
            ),
        ),
        node("paragraph", words("see"), {"type": "hardBreak"}, node("inlineCard", url="https://x.example/1")),
        node("mystery", node("paragraph", words("kept"))),
        {"type": "rule"},
    )
    assert plain(doc) == (
        "Plan\nAsk @Ann on 2026-01-01\n1. one\n2. two\n- a\n- b\n- [x] did\n- [ ] do\nx = 1\ny = 2\nk\nv\nsee\n"
        "https://x.example/1\nkept"
    )
    assert (plain(None), plain("h1. wiki"), plain({}), plain([]), plain(5)) == (None, "h1. wiki", "", "", "5")


def test_a_document_may_be_nested_without_end() -> None:
    deep: dict[str, object] = words("core")
    for _ in range(100_000):
        deep = {"type": "blockquote", "content": [deep]}
    assert plain(deep) == "core"


def test_versions_and_projects_become_rows() -> None:
    version = version_row("AB", NOW)({"id": 7, "name": "1.0", "released": True, "releaseDate": "2026-02-01"})
    assert VERSIONS.page([version]).to_pylist()[0]["is_released"] is True
    assert version["release_date"] == date(2026, 2, 1) and version["description"] is None
    project = project_row(NOW)(
        {"id": "1", "key": "AB", "lead": {"name": "bob", "displayName": "Bob"}, "archived": None}
    )
    assert PROJECTS.page([project]).to_pylist()[0]["lead_id"] == "bob"


# Decisions


def test_a_page_reaches_less_far_than_its_latest_issues() -> None:
    def at(minute: int) -> dict[str, object]:
        return {"fields": {"updated": f"2026-01-01T10:{minute:02d}:00.000+0000"}}

    assert reached([at(n) for n in range(30)]) == datetime(2026, 1, 1, 10, 20, tzinfo=UTC)
    assert reached([at(n) for n in reversed(range(60))]) == datetime(2026, 1, 1, 10, 45, tzinfo=UTC)
    assert reached([at(59), at(2), at(1)]) == datetime(2026, 1, 1, 10, 1, tzinfo=UTC)
    assert reached([{}, None, {"fields": {"updated": "x"}}]) is None


def test_many_projects_take_turns_but_new_ones_are_read_at_once() -> None:
    keys = [f"P{n}" for n in range(50)]
    read = {key: f"2026-01-{n % 28 + 1:02d}T00:00:00Z" for n, key in enumerate(keys[:40])}
    now = turn(keys, read)
    assert now[:10] == keys[40:] and len(now) == 10 + A_LOAD
    assert max(read[key] for key in now[10:]) <= min(read[key] for key in keys[:40] if key not in now)


def test_other_fields_or_events_are_loaded_from_the_start() -> None:
    known = {
        selection(source(**values))
        for values in ({}, {"customFields": ["customfield_1"]}, {"storyPoints": "customfield_9"}, {"since": NOW},
                       {"commentEvents": {"approval": "x"}})
    }  # fmt: skip
    assert len(known) == 5 and selection(source()) == selection(source(overlap="2h"))
