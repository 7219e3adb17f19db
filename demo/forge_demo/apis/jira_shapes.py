"""Answers of Jira in both dialects: Cloud (API 3, documents, account ids) and Data Center (API 2, wiki text, keys)."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from forge_demo import organisation as org
from forge_demo.apis.common import Json, Live, iso_millis
from forge_demo.jira_events import SprintSet, VersionSet
from forge_demo.jira_places import (
    ENVIRONMENTS,
    LINK_TYPES,
    PROJECTS,
    RANK,
    SCHEMAS,
    SEVERITY,
    SPRINT,
    STORY_POINT_ESTIMATE,
    STORY_POINTS,
    Project,
)
from forge_demo.jira_state import Comment, History, Issue, Link
from forge_demo.organisation import Person, Status

EMBEDDED_HISTORIES, EMBEDDED_COMMENTS = 40, 20
_CATEGORIES = {
    "new": (2, "blue-gray", "To Do"),
    "indeterminate": (4, "yellow", "In Progress"),
    "done": (3, "green", "Done"),
}
_ITEM = re.compile(r"(- |\d+\. )(.*)")


class Shapes:
    """Makes the answers of one site."""

    def __init__(self, live: Live, *, cloud: bool) -> None:
        """Times are told in the zone of the account."""
        self.live, self.cloud = live, cloud

    @property
    def zone(self) -> ZoneInfo:
        """The account's."""
        return ZoneInfo(self.live.settings.jira_zone)

    def time(self, at: datetime) -> str:
        """As Jira writes it: milliseconds, an offset without colon."""
        local = at.astimezone(self.zone)
        return f"{local:%Y-%m-%dT%H:%M:%S}.{local.microsecond // 1000:03d}{local:%z}"

    def user(self, person: Person, given: Json) -> Json:
        """An account."""
        avatars = {f"{n}x{n}": f"{given['self']}/avatar/{person.login}?size={n}" for n in (16, 24, 32, 48)}
        shape = {"avatarUrls": avatars, "displayName": person.name, "active": True, "timeZone": person.zone}
        if not self.cloud:
            address = f"{given['self']}/rest/api/2/user?username={person.login}"
            named = {"name": person.login, "key": person.account_id, "emailAddress": person.email}
            return {"self": address, **named, **shape}
        address = f"{given['self']}/rest/api/3/user?accountId={person.account_id}"
        email = {} if person.is_agent else {"emailAddress": person.email}
        kind = "app" if person.is_agent else "atlassian"
        return {"self": address, "accountId": person.account_id, **email, **shape, "accountType": kind}

    def history(self, history: History, given: Json, ids: set[str] | None = None) -> Json:
        """A changelog entry; only some fields of it when `ids` are asked for."""
        items = []
        for change in history.changes:
            if ids and change.field_id not in ids:
                continue
            custom = (change.field_id or "").startswith("customfield")
            item: Json = {"field": change.field, "fieldtype": "custom" if custom else "jira"}
            if change.field_id is not None and self.cloud:
                item["fieldId"] = change.field_id
            item |= {"from": change.from_value, "fromString": change.from_string}
            items.append(item | {"to": change.to_value, "toString": change.to_string})
        author, created = self.user(history.author, given), self.time(history.at)
        return {"id": history.id, "author": author, "created": created, "items": items}

    def comment(self, comment: Comment, given: Json) -> Json:
        """A comment."""
        author = self.user(comment.author, given)
        times = {"created": self.time(comment.at), "updated": self.time(comment.edited_at)}
        return {
            "id": comment.id, "author": author, "body": self.document(comment.body), "updateAuthor": author, **times,
        }  # fmt: skip

    def document(self, text: str) -> Any:
        """A text: as it is (Data Center), or as a document of paragraphs, lists, mentions and links (Cloud)."""
        if not self.cloud:
            return text
        blocks: list[Json] = []
        for line in text.split("\n"):
            item = _ITEM.fullmatch(line)
            if item is not None:
                kind = "bulletList" if item[1] == "- " else "orderedList"
                entry = {"type": "listItem", "content": [{"type": "paragraph", "content": _inline(item[2])}]}
                goes_on = bool(blocks) and blocks[-1]["type"] == kind and kind == "bulletList"
                goes_on |= (
                    bool(blocks) and blocks[-1]["type"] == kind and item[1] == f"{len(blocks[-1]['content']) + 1}. "
                )
                if goes_on:
                    blocks[-1]["content"].append(entry)
                    continue
                start = {} if kind == "bulletList" else {"attrs": {"order": int(item[1][:-2])}}
                blocks.append({"type": kind, **start, "content": [entry]})
            elif line:
                blocks.append({"type": "paragraph", "content": _inline(line)})
        return {"type": "doc", "version": 1, "content": blocks}

    # Issues

    def issue(self, issue: Issue, wanted: list[str], given: Json) -> Json:
        """An issue with the wanted fields."""
        address = f"{given['self']}/rest/api/{'3' if self.cloud else '2'}/issue/{issue.created.id}"
        if self.cloud and set(wanted) <= {"id", "key"}:
            short: Json = {"id": issue.created.id}
            return short | ({"key": issue.key, "self": address} if "key" in wanted else {})
        everything = self.fields(issue, given)
        chosen = everything
        if not {"*all", "*navigable"} & set(wanted):
            chosen = {name: everything[name] for name in wanted if name in everything}
        dropped = {name[1:] for name in wanted if name.startswith("-")}
        shape: Json = {"expand": "operations,versionedRepresentations,editmeta,changelog", "id": issue.created.id}
        shape |= {"self": address, "key": issue.key}
        shape["fields"] = {name: value for name, value in chosen.items() if name not in dropped}
        if "changelog" in str(given.get("expand", "")):
            newest = list(reversed(issue.histories)) if self.cloud else issue.histories
            kept = [self.history(h, given) for h in (newest[:EMBEDDED_HISTORIES] if self.cloud else newest)]
            shape["changelog"] = {"startAt": 0, "maxResults": len(kept), "total": len(newest), "histories": kept}
        return shape

    def fields(self, issue: Issue, given: Json) -> Json:
        """All fields of an issue."""
        it, site = issue.created, self.live.world.state.site
        parent = site.find(it.parent) if it.parent else None
        severity = "Sev 2" if it.issue_type == "Incident" else None
        embedded = issue.comments[-EMBEDDED_COMMENTS:] if self.cloud else issue.comments
        components = dict(PROJECTS[issue.project].components)
        environment = ENVIRONMENTS.get(it.issue_type)
        sprints = [site.sprints[id_] for id_ in issue.sprints]
        fields: Json = {
            "summary": it.summary,
            "description": self.document(it.description),
            "environment": environment and self.document(environment),
            "issuetype": self.issue_type(it.issue_type, given),
            "project": self.project(PROJECTS[issue.project], given),
            "status": self.status(issue.status, given),
            "priority": {
                "self": f"{given['self']}/rest/api/3/priority/{org.PRIORITIES[issue.priority]}",
                "id": org.PRIORITIES[issue.priority],
                "name": issue.priority,
            },
            "resolution": issue.resolution
            and {"id": org.RESOLUTIONS[issue.resolution], "name": issue.resolution, "description": ""},
            "resolutiondate": issue.resolved_at and self.time(issue.resolved_at),
            "assignee": issue.assignee and self.user(issue.assignee, given),
            "reporter": self.user(org.BY_LOGIN[it.reporter], given),
            "creator": self.user(org.BY_LOGIN[it.reporter], given),
            "labels": list(it.labels),
            "components": [
                {"self": f"{given['self']}/rest/api/3/component/{id_}", "id": id_, "name": components[id_]}
                for id_ in issue.components
            ],
            "fixVersions": [self.version(site.versions[id_], given) for id_ in issue.versions],
            "versions": [self.version(site.versions[id_], given) for id_ in issue.affected],
            "created": self.time(it.at),
            "updated": self.time(issue.updated_at),
            "duedate": it.due and it.due.isoformat(),
            "timeoriginalestimate": issue.estimate,
            "timespent": issue.spent,
            "issuelinks": [shape for link in issue.links if (shape := self.link(link, given))],
            "comment": {
                "comments": [self.comment(comment, given) for comment in embedded],
                "self": f"{given['self']}/rest/api/3/issue/{it.id}/comment",
                "maxResults": len(embedded),
                "total": len(issue.comments),
                "startAt": 0,
            },
            STORY_POINTS: it.story_points,
            STORY_POINT_ESTIMATE: None,
            SEVERITY: severity and {"id": "10200", "value": severity},
            SPRINT: ([self.sprint(one) for one in sprints] if self.cloud else [sprint_text(one) for one in sprints])
            or None,
            RANK: "0|i000db:",
        }
        if parent is not None:
            short = {"summary": parent.created.summary, "status": self.status(parent.status, given)}
            short["issuetype"] = self.issue_type(parent.created.issue_type, given)
            fields["parent"] = {
                "id": parent.created.id,
                "key": parent.key,
                "self": f"{given['self']}/rest/api/3/issue/{parent.created.id}",
                "fields": short,
            }
        return fields

    def link(self, link: Link, given: Json) -> Json | None:
        """A link; None while the other issue is gone."""
        other = self.live.world.state.site.find(link.other)
        if other is None:
            return None
        id_, inward, outward = LINK_TYPES[link.type]
        address = f"{given['self']}/rest/api/3"
        return {
            "id": link.id,
            "self": f"{address}/issueLink/{link.id}",
            "type": {"id": id_, "name": link.type, "inward": inward, "outward": outward,
                     "self": f"{address}/issueLinkType/{id_}"},
            f"{link.direction}Issue": {
                "id": other.created.id, "key": other.key, "self": f"{address}/issue/{other.created.id}",
                "fields": {"summary": other.created.summary, "status": self.status(other.status, given)},
            },
        }  # fmt: skip

    def status(self, status: Status, given: Json) -> Json:
        """A status with its category."""
        number, colour, name = _CATEGORIES[status.category]
        category = {"self": f"{given['self']}/rest/api/3/statuscategory/{number}", "id": number, "key": status.category}
        return {
            "self": f"{given['self']}/rest/api/3/status/{status.id}", "description": "", "iconUrl": f"{given['self']}/",
            "name": status.name, "id": status.id, "statusCategory": category | {"colorName": colour, "name": name},
        }  # fmt: skip

    def issue_type(self, name: str, given: Json) -> Json:
        """An issue type."""
        id_ = org.ISSUE_TYPES[name]
        address = f"{given['self']}/rest/api/3/issuetype/{id_}"
        return {"self": address, "id": id_, "name": name, "subtask": False, "hierarchyLevel": int(name == "Epic")}

    # What is around issues

    def project(self, project: Project, given: Json) -> Json:
        """A project in short."""
        shape = {"self": f"{given['self']}/rest/api/3/project/{project.id}", "id": project.id, "key": project.key}
        kind = {"projectTypeKey": project.type, "simplified": False, "style": "classic", "isPrivate": False}
        return shape | {"name": project.name} | kind

    def whole_project(self, project: Project, given: Json) -> Json:
        """A project with its lead, components and versions."""
        versions = self.live.world.state.site.versions.values()
        return self.project(project, given) | {
            "description": "",
            "lead": self.user(project.lead, given),
            "archived": project.archived,
            "components": [{"id": id_, "name": name} for id_, name in project.components],
            "versions": [self.version(version, given) for version in versions if version.project == project.key],
        }

    def version(self, version: VersionSet, given: Json) -> Json:
        """A version; what is not set is left out."""
        days = {"startDate": version.start, "releaseDate": version.release}
        return {
            "self": f"{given['self']}/rest/api/3/version/{version.id}",
            "id": version.id,
            **({"description": version.description} if version.description else {}),
            "name": version.name,
            "archived": version.archived,
            "released": version.released,
            **{name: day.isoformat() for name, day in days.items() if day},
            "projectId": int(PROJECTS[version.project].id),
        }

    def sprint(self, sprint: SprintSet, *, board: str = "boardId") -> Json:
        """A sprint: as in an issue's field (`boardId`), or as the Agile API tells it (`originBoardId`)."""
        times = {"startDate": sprint.start, "endDate": sprint.end, "completeDate": sprint.completed}
        return {
            "id": sprint.id,
            "name": sprint.name,
            "state": sprint.state,
            board: sprint.board,
            "goal": sprint.goal or "",
            **{name: iso_millis(at) for name, at in times.items() if at},
        }


def sprint_text(sprint: SprintSet) -> str:
    """A sprint in an issue's field of Data Center."""

    def told(at: datetime | None) -> str:
        return "<null>" if at is None else f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"

    return (
        f"com.atlassian.greenhopper.service.sprint.Sprint@{sprint.id:x}[id={sprint.id},rapidViewId={sprint.board},"
        f"state={sprint.state.upper()},name={sprint.name},startDate={told(sprint.start)},endDate={told(sprint.end)},"
        f"completeDate={told(sprint.completed)},activatedDate={told(sprint.start)},sequence={sprint.id},"
        f"goal={sprint.goal or '<null>'}]"
    )


def field_list() -> list[Json]:
    """System and custom fields, with the schemas by which loaders find them."""
    return [_field(*field) for field in _FIELDS]


def _field(id_: str, name: str, kind: str) -> Json:
    custom = id_.startswith("customfield")
    number = id_.rpartition("_")[2]
    schema: Json = {"type": kind, **({"items": "json"} if kind == "array" and custom else {})}
    schema |= {"custom": SCHEMAS[id_], "customId": int(number)} if custom else {"system": id_}
    named = {"id": id_, "key": id_, "name": name, "custom": custom}
    clauses = [f"cf[{number}]", name] if custom else [id_]
    return {**named, "orderable": True, "navigable": True, "searchable": True, "clauseNames": clauses, "schema": schema}


def _inline(line: str) -> list[Json]:
    """Words, a person's name after an @ as a mention, an address as a card."""
    found: list[Json] = []
    at = 0
    for match in _INLINE.finditer(line):
        if match.start() > at:
            found.append({"type": "text", "text": line[at : match.start()]})
        if match[0][0] == "@":
            found.append({"type": "mention", "attrs": {"id": _NAMES[match[0][1:]], "text": match[0]}})
        else:
            found.append({"type": "inlineCard", "attrs": {"url": match[0]}})
        at = match.end()
    return [*found, {"type": "text", "text": line[at:]}] if at < len(line) else found


_NAMES = {person.name: person.account_id for person in org.PEOPLE}
_INLINE = re.compile("|".join(f"@{re.escape(name)}" for name in _NAMES) + r"|https://\S+")
_FIELDS = (
    ("summary", "Summary", "string"),
    ("status", "Status", "status"),
    ("issuetype", "Issue Type", "issuetype"),
    ("assignee", "Assignee", "user"),
    ("reporter", "Reporter", "user"),
    ("creator", "Creator", "user"),
    ("description", "Description", "string"),
    ("environment", "Environment", "string"),
    ("comment", "Comment", "comments-page"),
    ("created", "Created", "datetime"),
    ("updated", "Updated", "datetime"),
    ("resolution", "Resolution", "resolution"),
    ("resolutiondate", "Resolved", "datetime"),
    ("priority", "Priority", "priority"),
    ("labels", "Labels", "array"),
    ("components", "Components", "array"),
    ("fixVersions", "Fix versions", "array"),
    ("versions", "Affects versions", "array"),
    ("issuelinks", "Linked Issues", "array"),
    ("parent", "Parent", "issuelink"),
    ("duedate", "Due date", "date"),
    ("timeoriginalestimate", "Original estimate", "number"),
    ("timespent", "Time Spent", "number"),
    (STORY_POINTS, "Story point estimate", "number"),
    (STORY_POINT_ESTIMATE, "Story Points", "number"),
    (SPRINT, "Sprint", "array"),
    (RANK, "Rank", "any"),
    (SEVERITY, "Severity", "option"),
)
