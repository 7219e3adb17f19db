"""Jira: issues by the order of their updates, and the whole changelog of each issue that came.

An issue that is updated while the pages are read moves to the end of the order and is met there; one that the search
index did not know yet is met by the next load's overlap. JQL reads times in the account's zone, so bounds are epoch
milliseconds. Cloud pages by token, Data Center by keys: the next page begins at the last update seen, because an offset
would skip rows when earlier ones move to the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pyarrow as pa  # type: ignore[import-untyped]
from forge_stack.duration import duration
from forge_stack.model import JiraSource

from forge_pipelines.http import Api
from forge_pipelines.problems import LoadError
from forge_pipelines.sources import Credentials, Page, Scope
from forge_pipelines.tables import (
    DAY,
    JSON,
    MOMENT,
    SMALL_INTEGER,
    TEXT,
    Table,
    day,
    iso,
    json_text,
    moment,
    optional,
    required,
)

ISSUES = Table(
    name="issues",
    schema=pa.schema(
        [
            required("id", TEXT),
            required("updated_at", MOMENT),
            required("key", TEXT),
            required("project_key", TEXT),
            required("summary", TEXT),
            required("issue_type", TEXT),
            required("status", TEXT),
            required("status_category", TEXT),
            optional("priority", TEXT),
            optional("resolution", TEXT),
            optional("assignee_id", TEXT),
            optional("assignee_name", TEXT),
            optional("reporter_id", TEXT),
            optional("reporter_name", TEXT),
            optional("parent_key", TEXT),
            required("labels", JSON),
            required("created_at", MOMENT),
            optional("resolved_at", MOMENT),
            optional("due_date", DAY),
            required("custom_fields", JSON),
        ]
    ),
    key=("id",),
    version="updated_at",
)
CHANGELOGS = Table(
    name="issue_changelogs",
    schema=pa.schema(
        [
            required("issue_id", TEXT),
            required("history_id", TEXT),
            required("item_index", SMALL_INTEGER),
            required("created_at", MOMENT),
            required("issue_key", TEXT),
            optional("author_id", TEXT),
            optional("author_name", TEXT),
            required("field", TEXT),
            optional("field_id", TEXT),
            optional("from_value", TEXT),
            optional("from_string", TEXT),
            optional("to_value", TEXT),
            optional("to_string", TEXT),
        ]
    ),
    key=("issue_id", "history_id", "item_index"),
    version="created_at",
)
TABLES = (ISSUES, CHANGELOGS)

FIELDS = (
    "summary", "issuetype", "status", "priority", "resolution", "assignee", "reporter", "parent", "labels", "created",
    "updated", "resolutiondate", "duedate", "project",
)  # fmt: skip
PAGE = 100
BULK_PAGE = 1000

Deployment = Literal["Cloud", "DataCenter"]


@dataclass(frozen=True)
class Walk:
    """A search to read to its end: some projects from one moment on, in a backfill up to another."""

    projects: tuple[str, ...]
    start: datetime | None
    end: datetime | None = None


def connect(spec: JiraSource, credentials: Credentials) -> Api:
    """Cloud: e-mail and API token (basic). Data Center: a personal access token (bearer)."""
    token = credentials.require("token")
    if email := credentials.get("email"):
        return Api(spec.url, {}, basic=(email, token))
    return Api(spec.url, {"Authorization": f"Bearer {token}"})


def pages(spec: JiraSource, api: Api, scope: Scope) -> Iterator[Page]:
    """Project group by project group; each page is a clean cursor, because the order is that of updates."""
    deployment = spec.deployment if spec.deployment != "Auto" else scope.state.get("deployment") or ask(api, spec.url)
    site = Cloud(api, spec) if deployment == "Cloud" else DataCenter(api, spec)
    marks: dict[str, str] = dict(scope.state.get("projects", {}))
    marks = {key: mark for key, mark in marks.items() if scope.state.get("selection") == selection(spec)}
    for walk in walks(spec, scope, marks):
        for projects, issues in found(site, walk, scope):
            kept = [i for i in issues if walk.end is None or (updated(i) < walk.end)]
            histories = site.histories(kept) if kept else []
            seen = max((updated(i) for i in issues), default=None)
            for key in projects:
                if seen is not None:
                    marks[key] = max(marks.get(key, ""), iso(seen))
            yield Page(
                {"issues": ISSUES.page(map(issue_row(spec), kept)), "issue_changelogs": CHANGELOGS.page(histories)},
                {"projects": dict(marks), "selection": selection(spec), "deployment": deployment},
                covered=seen,
                newest=seen,
            )
            if walk.end is not None and seen is not None and seen >= walk.end:
                break
    yield Page(state={"projects": dict(marks), "selection": selection(spec), "deployment": deployment})


def ask(api: Api, url: str) -> Deployment:
    """Which of the two APIs the site speaks, by its own word (`serverInfo`)."""
    if api.host.endswith((".atlassian.net", "api.atlassian.com")):
        return "Cloud"
    info = api.get("/rest/api/2/serverInfo", what="the kind of the site (serverInfo)")
    kind = info.get("deploymentType") if isinstance(info, dict) else None
    if kind is None:
        raise LoadError("BadResponse", f"{url} does not say what kind of Jira it is; set jira.deployment")
    return "Cloud" if kind == "Cloud" else "DataCenter"


def selection(spec: JiraSource) -> str:
    """What the cursors belong to: another beginning or other custom fields are loaded from the start again."""
    return json_text([iso(spec.since) if spec.since else None, sorted(spec.custom_fields)])


def walks(spec: JiraSource, scope: Scope, marks: Mapping[str, str]) -> list[Walk]:
    """What to search: the projects that are loaded up to the same moment together, new ones from `since`."""
    if scope.window:
        return [Walk(tuple(spec.projects), *scope.window)]
    groups: dict[str | None, list[str]] = {}
    for key in spec.projects:
        groups.setdefault(marks.get(key), []).append(key)
    return [Walk(tuple(keys), begin(spec, moment(mark))) for mark, keys in groups.items()]


def begin(spec: JiraSource, mark: datetime | None) -> datetime | None:
    """Where a search begins: an overlap before what is loaded, never before `since`; whole minutes, as JQL has them."""
    if mark is None:
        return spec.since
    start = (mark - duration(spec.overlap)).replace(second=0, microsecond=0)
    return max(start, spec.since) if spec.since else start


def jql(projects: Iterable[str], start: datetime | None) -> str:
    """The search; always bounded by projects, as Cloud demands."""
    names = ", ".join(f'"{key}"' for key in projects)
    bound = f" AND updated >= {int(start.timestamp() * 1000)}" if start else ""
    return f"project in ({names}){bound} ORDER BY updated ASC, key ASC"


def found(site: Cloud | DataCenter, walk: Walk, scope: Scope) -> Iterator[tuple[tuple[str, ...], list[dict[str, Any]]]]:
    """The pages of a search, with the projects searched: those that the site knows. Others cost a warning."""
    try:
        for issues in site.search(walk):
            yield walk.projects, issues
        return
    except LoadError as error:
        if error.reason != "InvalidConfiguration":
            raise
        known = tuple(key for key in walk.projects if site.knows(key))
        unknown = sorted(set(walk.projects) - set(known))
        if not unknown:
            raise
        missing = f"jira.projects: the site has no project {', '.join(unknown)} that these credentials may see"
        if not known:
            raise LoadError(
                "NotFound", f"{missing}; correct the keys, or give the account the right to browse it"
            ) from error
        scope.warn(f"{missing}; the others are loaded")
    for issues in site.search(Walk(known, walk.start, walk.end)):
        yield known, issues


class Cloud:
    """Jira Cloud, REST API 3: the search pages by token, changelogs come a page of issues at a time."""

    def __init__(self, api: Api, spec: JiraSource) -> None:
        """Remember which fields to ask for."""
        self.api, self.fields, self.bulk = api, [*FIELDS, *spec.custom_fields], True

    def knows(self, project: str) -> bool:
        """Whether the account can see a project."""
        return exists(self.api, f"/rest/api/3/project/{project}")

    def search(self, walk: Walk) -> Iterator[list[dict[str, Any]]]:
        """Issues, page by page. The last page has no token; an empty page that has one is no end."""
        token: str | None = None
        while True:
            body = {"jql": jql(walk.projects, walk.start), "maxResults": PAGE, "fields": self.fields}
            answer = self.api.post(
                "/rest/api/3/search/jql",
                body | ({"nextPageToken": token} if token else {}),
                what="the search for issues",
            )
            issues = part(answer, "issues")
            token = answer.get("nextPageToken")
            if issues:
                yield issues
            if not token or answer.get("isLast") is True:
                return

    def histories(self, issues: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The changelog rows of a page of issues: one call, where the site has the bulk endpoint."""
        keys = {str(issue["id"]): str(issue["key"]) for issue in issues}
        if self.bulk:
            try:
                return list(self._bulk(keys))
            except LoadError as error:
                if error.reason not in ("NotFound", "BadResponse"):
                    raise
                self.bulk = False
        return [
            row
            for id_, key in keys.items()
            for history in paged_changelog(self.api, f"/rest/api/3/issue/{id_}/changelog")
            for row in history_rows(id_, key, history)
        ]

    def _bulk(self, keys: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        token: str | None = None
        while True:
            body: dict[str, Any] = {"issueIdsOrKeys": list(keys), "maxResults": BULK_PAGE}
            answer = self.api.post(
                "/rest/api/3/changelog/bulkfetch",
                body | ({"nextPageToken": token} if token else {}),
                what="the changelogs of a page of issues",
            )
            for log in part(answer, "issueChangeLogs"):
                id_ = str(log["issueId"])
                for history in log.get("changeHistories") or []:
                    yield from history_rows(id_, keys[id_], history)
            token = answer.get("nextPageToken")
            if not token:
                return


class DataCenter:
    """Jira Server and Data Center, REST API 2: the search carries the changelog."""

    def __init__(self, api: Api, spec: JiraSource) -> None:
        """Remember which fields to ask for."""
        self.api, self.fields = api, [*FIELDS, *spec.custom_fields]

    def knows(self, project: str) -> bool:
        """Whether the account can see a project."""
        return exists(self.api, f"/rest/api/2/project/{project}")

    def search(self, walk: Walk) -> Iterator[list[dict[str, Any]]]:
        """Issues, page by page: the next page begins at the last update of this one.

        Where a whole page has one moment, it is asked for again, longer: an offset would skip issues when one before it
        is updated. Only beyond the server's longest page is an offset left.
        """
        start, offset, size = walk.start, 0, PAGE
        while True:
            body = {
                "jql": jql(walk.projects, start),
                "startAt": offset,
                "maxResults": size,
                "fields": self.fields,
                "expand": ["changelog"],
            }
            answer = self.api.post("/rest/api/2/search", body, what="the search for issues")
            issues = part(answer, "issues")
            if issues:
                yield issues
            if not issues or offset + len(issues) >= int(answer.get("total", 0)):
                return
            last = updated(issues[-1])
            if last != start:
                start, offset, size = last, 0, PAGE
            elif len(issues) >= size:
                size *= 2
            else:
                offset += len(issues)

    def histories(self, issues: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The changelog rows: those embedded, or all of them where the embedded ones are not the whole."""
        rows: list[dict[str, Any]] = []
        for issue in issues:
            log = issue.get("changelog") or {}
            histories = log.get("histories") or []
            if int(log.get("total") or 0) > len(histories):
                histories = paged_changelog(self.api, f"/rest/api/2/issue/{issue['id']}/changelog")
            for history in histories:
                rows += history_rows(str(issue["id"]), str(issue["key"]), history)
        return rows


def paged_changelog(api: Api, path: str) -> list[dict[str, Any]]:
    """The histories of one issue, by offset; changelogs only grow at their end."""
    histories: list[dict[str, Any]] = []
    while True:
        answer = api.get(path, {"startAt": len(histories), "maxResults": PAGE}, what="the changelog of an issue")
        values = part(answer, "values")
        histories += values
        if not values or answer.get("isLast") is True or len(histories) >= int(answer.get("total") or 0):
            return histories


def exists(api: Api, path: str) -> bool:
    """Whether the site answers a path with something."""
    try:
        api.get(path, what="a project")
    except LoadError as error:
        if error.reason in ("NotFound", "Forbidden"):
            return False
        raise
    return True


def part(answer: Any, name: str) -> list[dict[str, Any]]:
    """A list of an answer. Raises LoadError (BadResponse) when the answer has none."""
    value = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(value, list):
        raise LoadError(
            "BadResponse", f"the site's answer has no {name!r}; check that jira.url is the site's base address"
        )
    return value


def updated(issue: Mapping[str, Any]) -> datetime:
    """When an issue was updated last."""
    found = moment(issue["fields"].get("updated"))
    if found is None:
        raise LoadError(
            "BadResponse", f"issue {issue.get('key')} has no time of update; the order of the search needs it"
        )
    return found


def issue_row(spec: JiraSource) -> Any:
    """Turns an issue into its row."""

    def row(issue: Mapping[str, Any]) -> dict[str, Any]:
        fields = issue["fields"]
        status = fields.get("status") or {}
        assignee, reporter = fields.get("assignee"), fields.get("reporter")
        return {
            "id": str(issue["id"]),
            "updated_at": updated(issue),
            "key": issue["key"],
            "project_key": (fields.get("project") or {}).get("key") or issue["key"].rpartition("-")[0],
            "summary": fields.get("summary") or "",
            "issue_type": name_of(fields.get("issuetype")) or "",
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
            "custom_fields": json_text({id_: fields[id_] for id_ in spec.custom_fields if id_ in fields}),
        }

    return row


def history_rows(issue_id: str, issue_key: str, history: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of a history: one an item."""
    author = history.get("author")
    for index, item in enumerate(history.get("items") or []):
        yield {
            "issue_id": issue_id,
            "history_id": str(history["id"]),
            "item_index": index,
            "created_at": history_time(history.get("created")),
            "issue_key": issue_key,
            "author_id": user_id(author),
            "author_name": user_name(author),
            "field": item.get("field") or "",
            "field_id": item.get("fieldId"),
            "from_value": text(item.get("from")),
            "from_string": text(item.get("fromString")),
            "to_value": text(item.get("to")),
            "to_string": text(item.get("toString")),
        }


def history_time(value: Any) -> datetime | None:
    """ISO 8601, or (in some answers of the bulk endpoint) epoch milliseconds."""
    if isinstance(value, (int, float)):
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=value)
    return moment(value)


def name_of(value: Any) -> str | None:
    """The name of a priority, resolution or type."""
    return value.get("name") if isinstance(value, dict) else None


def user_id(user: Any) -> str | None:
    """The account id (Cloud), else the key or name (Data Center); None for nobody."""
    return (user.get("accountId") or user.get("key") or user.get("name")) if isinstance(user, dict) else None


def user_name(user: Any) -> str | None:
    """The name shown; None for nobody."""
    return user.get("displayName") if isinstance(user, dict) else None


def text(value: Any) -> str | None:
    """A changelog value as text."""
    return None if value is None else value if isinstance(value, str) else json_text(value)
