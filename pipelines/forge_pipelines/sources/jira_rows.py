"""Answers of Jira as bronze rows. Pure; what makes no row raises, and is set aside by `Scope.page`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from forge_stack.model import CommentEvents, JiraSource

from forge_pipelines.problems import LoadError
from forge_pipelines.sources.jira_text import plain
from forge_pipelines.tables import day, iso, json_text, moment, whole

Answer = Mapping[str, Any]
Sprint = tuple[str, str]
"""Name and state of a sprint."""

SEARCHED_CHARACTERS = 20_000


@dataclass(frozen=True)
class Fields:
    """Custom fields of a site that mean something to every analyst: ids of the sprint field and of story points."""

    sprint: tuple[str, ...] = ()
    points: tuple[str, ...] = ()


def meaning(listed: Any, story_points: str | None) -> Fields:
    """Find the fields in a site's list of them: by the schemas of Jira Software, story points also by their name.

    Company-managed projects have "Story Points", team-managed ones "Story point estimate"; an issue has one of them.
    """
    sprint, points, named = [], [], []
    for one in listed if isinstance(listed, list) else []:
        if not isinstance(one, dict) or not isinstance(one.get("id"), str):
            continue
        given = one.get("schema")
        schema: Answer = given if isinstance(given, dict) else {}
        custom, name = str(schema.get("custom") or ""), str(one.get("untranslatedName") or one.get("name") or "")
        if custom == "com.pyxis.greenhopper.jira:gh-sprint":
            sprint.append(one["id"])
        elif custom == "com.pyxis.greenhopper.jira:jsw-story-points":
            points.append(one["id"])
        elif custom and name.lower() in ("story points", "story point estimate") and schema.get("type") == "number":
            named.append(one["id"])
    return Fields(tuple(sprint), (story_points,) if story_points else (*points, *named))


@dataclass(frozen=True)
class IssueRow:
    """Turns an issue into its row. `confirmed`: sprints by the Agile API, which knows better than a search."""

    spec: JiraSource
    fields: Fields = Fields()
    confirmed: Mapping[int, Sprint] = field(default_factory=dict)

    def __call__(self, issue: Answer) -> dict[str, Any]:
        """The row. Raises when the issue has no id, key or time."""
        fields = issue["fields"]
        status = fields.get("status") or {}
        kind = fields.get("issuetype")
        assignee, reporter, creator = fields.get("assignee"), fields.get("reporter"), fields.get("creator")
        return {
            "id": str(issue["id"]),
            "updated_at": updated(issue),
            "key": issue["key"],
            "project_key": (fields.get("project") or {}).get("key") or issue["key"].rpartition("-")[0],
            "summary": fields.get("summary") or "",
            "issue_type": name_of(kind) or "",
            "status": status.get("name") or "",
            "status_category": (status.get("statusCategory") or {}).get("key") or "",
            "priority": name_of(fields.get("priority")),
            "resolution": name_of(fields.get("resolution")),
            "assignee_id": user_id(assignee),
            "assignee_name": user_name(assignee),
            "reporter_id": user_id(reporter),
            "reporter_name": user_name(reporter),
            "parent_key": (fields.get("parent") or {}).get("key"),
            "labels": json_text(fields.get("labels") or []),
            "created_at": moment(fields.get("created")),
            "resolved_at": moment(fields.get("resolutiondate")),
            "due_date": day(fields.get("duedate")),
            "custom_fields": json_text({id_: fields[id_] for id_ in self.spec.custom_fields if id_ in fields}),
            "issue_type_id": id_of(kind),
            "status_id": id_of(status),
            "is_subtask": isinstance(kind, dict) and kind.get("subtask") is True,
            "assignee_type": user_type(assignee),
            "reporter_type": user_type(reporter),
            "creator_id": user_id(creator),
            "creator_name": user_name(creator),
            "components": json_text(named(fields.get("components"))),
            "fix_versions": json_text(named(fields.get("fixVersions"))),
            "affects_versions": json_text(named(fields.get("versions"))),
            "links": json_text(list(links(fields.get("issuelinks")))),
            "sprints": json_text([self._sprint(one) for one in sprints_of(issue, self.fields)]),
            "story_points": self._points(fields),
            "description": plain(fields.get("description")),
            "environment": plain(fields.get("environment")),
            "original_estimate_seconds": whole(fields.get("timeoriginalestimate")),
            "time_spent_seconds": whole(fields.get("timespent")),
            "comments": json_text(comments(fields.get("comment"), self.spec.comment_events)),
        }

    def _sprint(self, one: Answer) -> dict[str, Any]:
        id_ = int(one["id"])
        name, state = self.confirmed.get(id_) or sprint_told(one)
        return {"id": id_, "name": name, "state": state}

    def _points(self, fields: Answer) -> float | None:
        return next((n for id_ in self.fields.points if (n := number(fields.get(id_))) is not None), None)


def change_row(change: Answer) -> dict[str, Any]:
    """The row of one changed field (as `changes` gives it)."""
    history, item = change["history"], change["item"]
    author = history.get("author")
    return {
        "issue_id": change["issueId"],
        "history_id": str(history["id"]),
        "item_index": change["index"],
        "created_at": history_time(history.get("created")),
        "issue_key": change["issueKey"],
        "author_id": user_id(author),
        "author_name": user_name(author),
        "field": item.get("field") or "",
        "field_id": item.get("fieldId"),
        "from_value": text(item.get("from")),
        "from_string": text(item.get("fromString")),
        "to_value": text(item.get("to")),
        "to_string": text(item.get("toString")),
        "author_type": user_type(author),
    }


def changes(issue_id: str, issue_key: str, history: Answer) -> Iterator[dict[str, Any]]:
    """The changed fields of a history (id, author, created, items), one answer each."""
    shared = {name: value for name, value in history.items() if name in ("id", "author", "created")}
    for index, item in enumerate(history.get("items") or []):
        yield {"issueId": issue_id, "issueKey": issue_key, "index": index, "history": shared, "item": item}


def sprint_row(now: datetime) -> Callable[[Answer], dict[str, Any]]:
    """Turns a sprint, of the Agile API or of an issue's field, into its row."""

    def row(sprint: Answer) -> dict[str, Any]:
        name, state = sprint_told(sprint)
        return {
            "sprint_id": int(sprint["id"]),
            "loaded_at": now,
            "name": name,
            "state": state,
            "board_id": whole(sprint.get("originBoardId") or sprint.get("boardId") or sprint.get("rapidViewId")),
            "goal": sprint.get("goal") or None,
            "start_at": moment(sprint.get("startDate")),
            "end_at": moment(sprint.get("endDate")),
            "completed_at": moment(sprint.get("completeDate")),
        }

    return row


def version_row(project_key: str, now: datetime) -> Callable[[Answer], dict[str, Any]]:
    """Turns a version of a project into its row."""

    def row(version: Answer) -> dict[str, Any]:
        return {
            "version_id": str(version["id"]),
            "loaded_at": now,
            "project_key": project_key,
            "name": version.get("name") or "",
            "description": version.get("description") or None,
            "is_released": version.get("released") is True,
            "is_archived": version.get("archived") is True,
            "start_date": day(version.get("startDate")),
            "release_date": day(version.get("releaseDate")),
        }

    return row


def project_row(now: datetime) -> Callable[[Answer], dict[str, Any]]:
    """Turns a project into its row."""

    def row(project: Answer) -> dict[str, Any]:
        lead = project.get("lead")
        return {
            "project_id": str(project["id"]),
            "loaded_at": now,
            "key": project["key"],
            "name": project.get("name") or "",
            "project_type": project.get("projectTypeKey"),
            "lead_id": user_id(lead),
            "lead_name": user_name(lead),
            "is_archived": project.get("archived"),
        }

    return row


# Parts of an issue


def updated(issue: Answer) -> datetime:
    """When an issue was updated last."""
    found = moment(issue["fields"].get("updated"))
    if found is None:
        raise LoadError(
            "BadResponse", f"issue {issue.get('key')} has no time of update; the order of the search needs it"
        )
    return found


def links(given: Any) -> Iterator[dict[str, Any]]:
    """Links to other issues. Their status is theirs: it would be stale here as soon as they move on."""
    for link in given if isinstance(given, list) else []:
        for direction in ("inward", "outward"):
            other = link.get(f"{direction}Issue")
            if isinstance(other, dict):
                yield {
                    "type": name_of(link.get("type")) or "",
                    "direction": direction,
                    "id": id_of(other),
                    "key": other.get("key"),
                }


def comments(given: Any, events: CommentEvents) -> list[dict[str, Any]]:
    """The comments of an issue's field `comment`, with the event that each one is."""
    found = given.get("comments") if isinstance(given, dict) else None
    rows = []
    for comment in found or []:
        body, author = plain(comment.get("body")) or "", comment.get("author")
        rows.append(
            {
                "id": str(comment["id"]),
                "authorId": user_id(author),
                "author": user_name(author),
                "authorType": user_type(author),
                "createdAt": _utc(comment.get("created")),
                "updatedAt": _utc(comment.get("updated")),
                "body": body,
                "event": event_of(body, events),
            }
        )
    return sorted(rows, key=lambda row: (row["createdAt"] or "", len(row["id"]), row["id"]))


def event_of(body: str, events: CommentEvents) -> str | None:
    """What a comment is: the first pattern that is found in it; of a huge text only both ends are searched."""
    if len(body) > SEARCHED_CHARACTERS:
        body = body[: SEARCHED_CHARACTERS // 2] + "\n" + body[-SEARCHED_CHARACTERS // 2 :]
    return next(
        (kind for kind in ("approval", "rejection", "question") if re.search(getattr(events, kind), body)), None
    )


def sprints_of(issue: Answer, fields: Fields) -> list[dict[str, Any]]:
    """The sprints of an issue, as objects (Cloud) or read from Data Center's text form; others are left out."""
    found: dict[int, dict[str, Any]] = {}
    for id_ in fields.sprint:
        value = issue["fields"].get(id_)
        for one in value if isinstance(value, list) else [value]:
            sprint = sprint_text(one) if isinstance(one, str) else one
            if isinstance(sprint, dict) and str(sprint.get("id") or "").isdigit():
                found[int(sprint["id"])] = sprint
    return list(found.values())


_SPRINT_PART = re.compile(
    r"(?:^|,)(id|rapidViewId|state|name|startDate|endDate|completeDate|activatedDate|sequence|goal|synced|autoStartStop"
    r"|incompleteIssuesDestinationId)="
)


def sprint_text(value: str) -> dict[str, Any] | None:
    """A sprint in the form `com.atlassian.greenhopper.service.sprint.Sprint@1f[id=1,rapidViewId=2,state=CLOSED,...]`.

    A name or goal may hold commas and brackets, so parts end where the next known one begins.
    """
    opening = value.find("[")
    if opening < 0 or not value.endswith("]"):
        return None
    pieces = _SPRINT_PART.split(value[opening + 1 : -1])
    parts = dict(zip(pieces[1::2], pieces[2::2], strict=True))
    return {name: None if part == "<null>" else part for name, part in parts.items()}


def sprint_told(sprint: Answer) -> Sprint:
    """Name and state of a sprint; states are future, active and closed."""
    return str(sprint.get("name") or ""), str(sprint.get("state") or "").lower()


def named(given: Any) -> list[dict[str, Any]]:
    """Components and versions: id and name."""
    return [{"id": id_of(one), "name": name_of(one)} for one in given or []]


def name_of(value: Any) -> str | None:
    """The name of a priority, resolution or type."""
    return value.get("name") if isinstance(value, dict) else None


def id_of(value: Any) -> str | None:
    """The id of a status, type or issue, as text."""
    return str(value["id"]) if isinstance(value, dict) and value.get("id") is not None else None


def user_id(user: Any) -> str | None:
    """The account id (Cloud), else the key or name (Data Center); None for nobody and for anonymised users."""
    return (user.get("accountId") or user.get("key") or user.get("name") or None) if isinstance(user, dict) else None


def user_name(user: Any) -> str | None:
    """The name shown; None for nobody."""
    return user.get("displayName") if isinstance(user, dict) else None


def user_type(user: Any) -> str | None:
    """The kind of account (atlassian, app or customer); Data Center tells none."""
    return user.get("accountType") if isinstance(user, dict) else None


def number(value: Any) -> float | None:
    """A custom field's number; None for what is none."""
    try:
        found = None if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None
    return found if found is None or math.isfinite(found) else None


def history_time(value: Any) -> datetime | None:
    """ISO 8601, or (in some answers of the bulk endpoint) seconds or milliseconds since the epoch."""
    if isinstance(value, (int, float)):
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=value if value > 1e11 else value * 1000)
    return moment(value)


def text(value: Any) -> str | None:
    """A changelog value as text."""
    return None if value is None else value if isinstance(value, str) else json_text(value)


def _utc(value: Any) -> str | None:
    found = moment(value)
    return iso(found) if found else None
