"""Jira: Cloud's REST API 3 (token paging) and Data Center's REST API 2 (startAt), over the same issues."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Any
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from forge_demo import organisation as org
from forge_demo.apis.common import Json, Live, answer, basic_auth, whole_number
from forge_demo.apis.jql import JqlError, Query, parse
from forge_demo.organisation import Person, Status
from forge_demo.state import Comment, History, Issue, State

PAGE_WITH_FIELDS, PAGE_OF_KEYS, EMBEDDED_HISTORIES = 100, 5000, 40
BULK_ISSUES, BULK_FIELDS, BULK_PAGE = 1000, 10, 1000
_REMOVED = (
    "The requested API has been removed. Please migrate to the /rest/api/3/search/jql API. A full migration guideline "
    "is available at https://developer.atlassian.com/changelog/#CHANGE-2046"
)
_UNBOUNDED = "Unbounded JQL queries are not allowed here. Please add a search restriction to your query."
_CATEGORIES = {
    "new": (2, "blue-gray", "To Do"),
    "indeterminate": (4, "yellow", "In Progress"),
    "done": (3, "green", "Done"),
}


def routes(live: Live, *, cloud: bool) -> list[Route]:
    """The paths of a site under its base URL."""
    api = _Jira(live, cloud=cloud)
    paths: list[Route] = []
    for version in ("2", "3", "latest") if cloud else ("2", "latest"):
        root = f"/rest/api/{version}"
        both: dict[str, _Handler] = {
            "/myself": api.myself,
            "/field": api.fields,
            "/issue/{key}": api.issue,
            "/project/{key}": api.project,
        }
        here: dict[str, _Handler] = {"/project": api.projects, "/search": api.search_by_offset}
        if cloud:
            here = {
                "/search": api.removed,
                "/project/search": api.project_search,
                "/issue/{key}/changelog": api.changelog,
            }
            paths.append(_route(root + "/search/jql", api.guarded(api.search), "GET", "POST"))
            paths.append(_route(root + "/changelog/bulkfetch", api.guarded(api.bulk_changelogs), "POST"))
        paths.append(Route(root + "/serverInfo", api.server_info))
        for path, handler in {**here, **both}.items():
            methods = ("GET", "POST") if path == "/search" else ("GET",)
            paths.append(_route(root + path, api.guarded(handler), *methods))
    return [*paths, Route("/{rest:path}", api.not_found)]


_Handler = Callable[[Request, State, Json], Response]


def _route(path: str, handler: Callable[[Request], Awaitable[Response]], *methods: str) -> Route:
    return Route(path, handler, methods=list(methods))


def _failure(status: int, *messages: str, headers: dict[str, str] | None = None) -> Response:
    return answer({"errorMessages": list(messages), "errors": {}}, status, headers)


class _Jira:
    def __init__(self, live: Live, *, cloud: bool) -> None:
        self.live, self.cloud = live, cloud
        self.zone = ZoneInfo(live.settings.jira_zone)

    def guarded(self, handler: _Handler) -> Callable[[Request], Awaitable[Response]]:
        """Ask for credentials and budget first; read parameters from the query or the body."""

        @wraps(handler)
        async def checked(request: Request) -> Response:
            if not self._authenticated(request):
                reason = {"X-Seraph-LoginReason": "AUTHENTICATED_FAILED"} if "authorization" in request.headers else {}
                text = "Client must be authenticated to access this resource."
                return _failure(401, text, headers={"WWW-Authenticate": 'OAuth realm="demo"', **reason})
            budget = self.live.budget("jira")
            if not budget.take(1):
                at = datetime.fromtimestamp(budget.resets_at, UTC)
                headers = {"Retry-After": str(budget.wait_seconds), "RateLimit-Reason": "jira-burst-based"}
                headers |= {"X-RateLimit-Limit": str(budget.limit), "X-RateLimit-Remaining": "0"}
                return _failure(
                    429, "Rate limit exceeded.", headers=headers | {"X-RateLimit-Reset": f"{at:%Y-%m-%dT%H:%MZ}"}
                )
            parameters: Json = {**request.query_params, "self": str(request.base_url).rstrip("/")}
            if request.method == "POST":
                try:
                    parameters |= await request.json()
                except (ValueError, TypeError):
                    return _failure(400, "There was an error parsing JSON. Check that your request body is valid.")
            try:
                return handler(request, self.live.state(), parameters)
            except JqlError as error:
                return _failure(400, str(error))

        return checked

    def _authenticated(self, request: Request) -> bool:
        known = self.live.settings.credentials
        bearer = request.headers.get("authorization") == f"Bearer {known.jira_token}"
        if self.cloud:
            return bearer or basic_auth(request) == (known.jira_email, known.jira_token)
        return bearer

    async def not_found(self, request: Request) -> Response:
        """Unknown paths."""
        return answer({"message": "null for uri: " + str(request.url), "status-code": 404}, 404)

    async def server_info(self, request: Request) -> Response:
        """Which kind of Jira this is; anonymous callers may ask."""
        version = "1001.0.0-SNAPSHOT" if self.cloud else "10.3.2"
        kind = "Cloud" if self.cloud else "Server"
        base = str(request.base_url).rstrip("/")
        numbers = [int(n) for n in version.split("-")[0].split(".")]
        info = {
            "baseUrl": base,
            "version": version,
            "versionNumbers": numbers,
            "deploymentType": kind,
            "serverTitle": "Jira",
        }
        return answer(info | {"buildNumber": 100291, "serverTime": self._time(self.live.state().now)})

    # People, fields, projects

    def myself(self, request: Request, state: State, given: Json) -> Response:
        """The account of the token."""
        me = Person("observer", "Forge Observer", "5f00000000observer000000", 1, self.live.settings.jira_zone)
        return answer({**self._user(me, given), "timeZone": self.live.settings.jira_zone, "locale": "en_GB"})

    def fields(self, request: Request, state: State, given: Json) -> Response:
        """System and custom fields."""
        return answer(
            [
                {
                    "id": id_,
                    "key": id_,
                    "name": name,
                    "custom": id_.startswith("customfield"),
                    "orderable": True,
                    "navigable": True,
                    "searchable": True,
                    "clauseNames": [f"cf[{id_.rpartition('_')[2]}]", name] if id_.startswith("customfield") else [id_],
                    "schema": {
                        "type": type_,
                        **(
                            {"custom": "com.demo:field", "customId": int(id_[12:])}
                            if id_.startswith("c") and "_" in id_
                            else {"system": id_}
                        ),
                    },
                }
                for id_, name, type_ in _FIELDS
            ]
        )

    def project(self, request: Request, state: State, given: Json) -> Response:
        """One project."""
        team = next((t for t in org.TEAMS if t.project == request.path_params["key"]), None)
        if team is None:
            return _failure(404, f"No project could be found with key '{request.path_params['key']}'.")
        return answer(_project(team.project, given))

    def projects(self, request: Request, state: State, given: Json) -> Response:
        """All projects (Data Center)."""
        return answer([_project(team.project, given) for team in org.TEAMS])

    def project_search(self, request: Request, state: State, given: Json) -> Response:
        """All projects, paged (Cloud)."""
        keys = set(request.query_params.getlist("keys"))
        found = [_project(team.project, given) for team in org.TEAMS if not keys or team.project in keys]
        start, size = whole_number(given.get("startAt"), 0) or 0, whole_number(given.get("maxResults"), 50) or 50
        page = found[start : start + size]
        last = start + size >= len(found)
        return answer(
            {
                "self": given["self"],
                "maxResults": size,
                "startAt": start,
                "total": len(found),
                "isLast": last,
                "values": page,
            }
        )

    # Search

    def removed(self, request: Request, state: State, given: Json) -> Response:
        """Cloud's old search."""
        return _failure(410, _REMOVED)

    def search(self, request: Request, state: State, given: Json) -> Response:
        """Cloud: by token, bounded queries only, no total."""
        query = self._query(given, state)
        if not query.bounded:
            return _failure(400, _UNBOUNDED)
        fields = _wanted_fields(given.get("fields"), default=("id",))
        most = PAGE_OF_KEYS if set(fields) <= {"id", "key"} else PAGE_WITH_FIELDS
        size = whole_number(str(given.get("maxResults", "")), 50)
        if size is None or size < 1 or size > PAGE_OF_KEYS:
            return _failure(400, f"The maxResults value must be between 1 and {PAGE_OF_KEYS}.")
        rows = sorted(filter(query.matches, state.issues.values()), key=query.order)
        token = given.get("nextPageToken")
        if token:
            after = _read_token(token, str(given.get("jql", "")))
            if after is None:
                return _failure(400, "The provided next page token is invalid or expired.")
            rows = [row for row in rows if list(query.order(row)) > after]
        page = rows[: min(size, most)]
        shape: Json = {"issues": [self._issue(row, fields, given) for row in page], "isLast": len(page) == len(rows)}
        if len(page) < len(rows):
            shape["nextPageToken"] = _token(list(query.order(page[-1])), str(given.get("jql", "")))
        return answer(shape)

    def search_by_offset(self, request: Request, state: State, given: Json) -> Response:
        """Data Center: by startAt, with a total."""
        query = self._query(given, state)
        fields = _wanted_fields(given.get("fields"), default=("*navigable",))
        start = whole_number(str(given.get("startAt", "")), 0)
        size = whole_number(str(given.get("maxResults", "")), 50)
        if start is None or start < 0 or size is None or size < 0:
            return _failure(400, "startAt and maxResults must be whole numbers.")
        size = min(size, 1000)
        rows = sorted(filter(query.matches, state.issues.values()), key=query.order)
        issues = [self._issue(row, fields, given) for row in rows[start : start + size]]
        return answer(
            {"expand": "schema,names", "startAt": start, "maxResults": size, "total": len(rows), "issues": issues}
        )

    def _query(self, given: Json, state: State) -> Query:
        return parse(str(given.get("jql", "")), zone=self.zone, now=state.now)

    # Issues and changelogs

    def issue(self, request: Request, state: State, given: Json) -> Response:
        """One issue."""
        found = _find(state, request.path_params["key"])
        if found is None:
            return _failure(404, "Issue does not exist or you do not have permission to see it.")
        return answer(self._issue(found, _wanted_fields(given.get("fields"), default=("*all",)), given))

    def changelog(self, request: Request, state: State, given: Json) -> Response:
        """Cloud: the changelog of one issue, oldest first."""
        found = _find(state, request.path_params["key"])
        if found is None:
            return _failure(404, "Issue does not exist or you do not have permission to see it.")
        start, size = (
            whole_number(given.get("startAt"), 0) or 0,
            min(whole_number(given.get("maxResults"), 100) or 100, 100),
        )
        page, total = found.histories[start : start + size], len(found.histories)
        here = f"{given['self']}/rest/api/3/issue/{found.created.id}/changelog"
        shape: Json = {
            "self": f"{here}?maxResults={size}&startAt={start}",
            "maxResults": size,
            "startAt": start,
            "total": total,
        }
        shape["isLast"] = start + size >= total
        if not shape["isLast"]:
            shape["nextPage"] = f"{here}?maxResults={size}&startAt={start + size}"
        return answer(shape | {"values": [self._history(h, given) for h in page]})

    def bulk_changelogs(self, request: Request, state: State, given: Json) -> Response:
        """Cloud: the changelogs of many issues, oldest first, a page at a time."""
        keys, ids = given.get("issueIdsOrKeys"), given.get("fieldIds") or []
        if not isinstance(keys, list) or not 1 <= len(keys) <= BULK_ISSUES:
            return _failure(400, f"issueIdsOrKeys must hold between 1 and {BULK_ISSUES} issues.")
        if len(ids) > BULK_FIELDS:
            return _failure(400, f"fieldIds must hold at most {BULK_FIELDS} fields.")
        size = whole_number(str(given.get("maxResults", "")), BULK_PAGE)
        if size is None or not 1 <= size <= 10_000:
            return _failure(400, "maxResults must be between 1 and 10000.")
        issues = {issue.created.id: issue for key in keys if (issue := _find(state, str(key))) is not None}
        rows = sorted(
            (
                (issue.created.id, history)
                for issue in issues.values()
                for history in issue.histories
                if not ids or any(change.field_id in ids for change in history.changes)
            ),
            key=lambda row: (row[1].at, int(row[1].id)),
        )
        if given.get("nextPageToken"):
            after = _read_token(given["nextPageToken"], "bulk")
            if after is None:
                return _failure(400, "The provided next page token is invalid or expired.")
            rows = [row for row in rows if [int(row[1].at.timestamp() * 1000 + 0.5), int(row[1].id)] > after]
        page, logs = rows[:size], dict[str, list[Json]]()
        for issue_id, history in page:
            logs.setdefault(issue_id, []).append(self._history(history, given, set(ids)))
        shape: Json = {"issueChangeLogs": [{"issueId": key, "changeHistories": made} for key, made in logs.items()]}
        if len(page) < len(rows):
            last = page[-1][1]
            shape["nextPageToken"] = _token([int(last.at.timestamp() * 1000 + 0.5), int(last.id)], "bulk")
        return answer(shape)

    # Shapes

    def _time(self, at: datetime) -> str:
        local = at.astimezone(self.zone)
        return f"{local:%Y-%m-%dT%H:%M:%S}.{local.microsecond // 1000:03d}{local:%z}"

    def _user(self, person: Person, given: Json) -> Json:
        avatars = {f"{n}x{n}": f"{given['self']}/avatar/{person.login}?size={n}" for n in (16, 24, 32, 48)}
        shape = {"avatarUrls": avatars, "displayName": person.name, "active": True, "timeZone": person.zone}
        if not self.cloud:
            address = f"{given['self']}/rest/api/2/user?username={person.login}"
            return {
                "self": address,
                "name": person.login,
                "key": person.account_id,
                "emailAddress": person.email,
                **shape,
            }
        address = f"{given['self']}/rest/api/3/user?accountId={person.account_id}"
        email = {} if person.is_agent else {"emailAddress": person.email}
        return {
            "self": address,
            "accountId": person.account_id,
            **email,
            **shape,
            "accountType": "app" if person.is_agent else "atlassian",
        }

    def _history(self, history: History, given: Json, ids: set[str] | None = None) -> Json:
        items = []
        for change in history.changes:
            if ids and change.field_id not in ids:
                continue
            item: Json = {"field": change.field, "fieldtype": "jira"}
            if change.field_id is not None and self.cloud:
                item["fieldId"] = change.field_id
            item |= {"from": change.from_value, "fromString": change.from_string}
            items.append(item | {"to": change.to_value, "toString": change.to_string})
        return {
            "id": history.id,
            "author": self._user(history.author, given),
            "created": self._time(history.at),
            "items": items,
        }

    def _comment(self, comment: Comment, given: Json) -> Json:
        author, at = self._user(comment.author, given), self._time(comment.at)
        return {
            "id": comment.id,
            "author": author,
            "body": self._document(comment.body),
            "updateAuthor": author,
            "created": at,
            "updated": at,
        }

    def _document(self, text: str) -> Any:
        if not self.cloud:
            return text
        paragraphs = [
            {"type": "paragraph", "content": [{"type": "text", "text": line}]} for line in text.split("\n") if line
        ]
        return {"type": "doc", "version": 1, "content": paragraphs}

    def _issue(self, issue: Issue, wanted: list[str], given: Json) -> Json:
        address = f"{given['self']}/rest/api/{'3' if self.cloud else '2'}/issue/{issue.created.id}"
        if set(wanted) <= {"id", "key"}:
            short: Json = {"id": issue.created.id}
            return short | ({"key": issue.key, "self": address} if "key" in wanted else {})
        everything = self._fields(issue, given)
        chosen = everything
        if not {"*all", "*navigable"} & set(wanted):
            chosen = {name: everything[name] for name in wanted if name in everything}
        dropped = {name[1:] for name in wanted if name.startswith("-")}
        shape: Json = {
            "expand": "operations,versionedRepresentations,editmeta,changelog",
            "id": issue.created.id,
            "self": address,
        }
        shape |= {"key": issue.key, "fields": {k: v for k, v in chosen.items() if k not in dropped}}
        if "changelog" in str(given.get("expand", "")):
            newest = list(reversed(issue.histories)) if self.cloud else issue.histories
            kept = newest[:EMBEDDED_HISTORIES] if self.cloud else newest
            shape["changelog"] = {
                "startAt": 0,
                "maxResults": len(kept),
                "total": len(newest),
                "histories": [self._history(h, given) for h in kept],
            }
        return shape

    def _fields(self, issue: Issue, given: Json) -> Json:
        it, parent = issue.created, self.live.world.state.issues.get(issue.created.parent or "")
        category = {"Incident": "Sev 2"}.get(it.issue_type)
        comments = [self._comment(c, given) for c in issue.comments[-20:]]
        fields: Json = {
            "summary": it.summary,
            "description": self._document(it.description),
            "issuetype": _issue_type(it.issue_type, given),
            "project": _project(it.project, given),
            "status": _status(issue.status, given),
            "priority": {
                "self": f"{given['self']}/rest/api/3/priority",
                "id": org.PRIORITIES[issue.priority],
                "name": issue.priority,
            },
            "resolution": issue.resolution
            and {"id": org.RESOLUTIONS[issue.resolution], "name": issue.resolution, "description": ""},
            "resolutiondate": issue.resolved_at and self._time(issue.resolved_at),
            "assignee": issue.assignee and self._user(issue.assignee, given),
            "reporter": self._user(org.BY_LOGIN[it.reporter], given),
            "creator": self._user(org.BY_LOGIN[it.reporter], given),
            "labels": list(it.labels),
            "created": self._time(it.at),
            "updated": self._time(issue.updated_at),
            "duedate": it.due and it.due.isoformat(),
            "issuelinks": [],
            "comment": {
                "comments": comments,
                "self": given["self"],
                "maxResults": len(comments),
                "total": len(issue.comments),
                "startAt": 0,
            },
            org.STORY_POINTS: it.story_points,
            org.SEVERITY: category and {"id": "10200", "value": category},
        }
        if parent is not None:
            short = {"summary": parent.created.summary, "status": _status(parent.status, given)}
            short["issuetype"] = _issue_type(parent.created.issue_type, given)
            fields["parent"] = {
                "id": parent.created.id,
                "key": parent.key,
                "self": f"{given['self']}/rest/api/3/issue/{parent.created.id}",
                "fields": short,
            }
        return fields


_FIELDS = (
    ("summary", "Summary", "string"),
    ("status", "Status", "status"),
    ("issuetype", "Issue Type", "issuetype"),
    ("assignee", "Assignee", "user"),
    ("reporter", "Reporter", "user"),
    ("created", "Created", "datetime"),
    ("updated", "Updated", "datetime"),
    ("resolution", "Resolution", "resolution"),
    ("resolutiondate", "Resolved", "datetime"),
    ("priority", "Priority", "priority"),
    ("labels", "Labels", "array"),
    ("parent", "Parent", "issuelink"),
    ("duedate", "Due date", "date"),
    (org.STORY_POINTS, "Story point estimate", "number"),
    (org.SEVERITY, "Severity", "option"),
)


def _find(state: State, key: str) -> Issue | None:
    return state.issues.get(key) or next((i for i in state.issues.values() if i.created.id == key), None)


def _wanted_fields(given: Any, *, default: tuple[str, ...]) -> list[str]:
    names = given.split(",") if isinstance(given, str) else list(given or [])
    return [name.strip() for name in names if name.strip()] or list(default)


def _token(after: list[int], of: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([after, of]).encode()).decode()


def _read_token(token: str, of: str) -> list[int] | None:
    try:
        after, made_for = json.loads(base64.urlsafe_b64decode(token))
    except (ValueError, TypeError):
        return None
    return list(after) if made_for == of else None


def _status(status: Status, given: Json) -> Json:
    number, colour, name = _CATEGORIES[status.category]
    category = {"self": f"{given['self']}/rest/api/3/statuscategory/{number}", "id": number, "key": status.category}
    shape = {
        "self": f"{given['self']}/rest/api/3/status/{status.id}",
        "description": "",
        "iconUrl": f"{given['self']}/",
    }
    return shape | {
        "name": status.name,
        "id": status.id,
        "statusCategory": category | {"colorName": colour, "name": name},
    }


def _issue_type(name: str, given: Json) -> Json:
    id_ = org.ISSUE_TYPES[name]
    level = 1 if name == "Epic" else 0
    return {
        "self": f"{given['self']}/rest/api/3/issuetype/{id_}",
        "id": id_,
        "name": name,
        "subtask": False,
        "hierarchyLevel": level,
    }


def _project(key: str, given: Json) -> Json:
    number, team = next((n, t) for n, t in enumerate(org.TEAMS) if t.project == key)
    id_ = str(10_000 + number)
    shape = {"self": f"{given['self']}/rest/api/3/project/{id_}", "id": id_, "key": key, "name": team.project_name}
    return shape | {"projectTypeKey": "software", "simplified": False, "style": "classic", "isPrivate": False}
