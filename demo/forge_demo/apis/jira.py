"""Jira: Cloud's REST API 3 (token paging) and Data Center's REST API 2 (startAt), over the same issues."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from forge_demo.apis.common import Json, Live, answer, basic_auth, whole_number
from forge_demo.apis.jira_shapes import Shapes, field_list
from forge_demo.apis.jql import JqlError, Query, parse
from forge_demo.jira_places import BOARDS, PROJECTS
from forge_demo.jira_state import Issue
from forge_demo.organisation import Person
from forge_demo.state import State

PAGE_WITH_FIELDS, PAGE_OF_KEYS, WINDOW = 100, 5000, 10_000
BULK_ISSUES, BULK_FIELDS, BULK_PAGE = 1000, 10, 1000
_REMOVED = (
    "The requested API has been removed. Please migrate to the /rest/api/3/search/jql API. A full migration guideline "
    "is available at https://developer.atlassian.com/changelog/#CHANGE-2046"
)
_UNBOUNDED = "Unbounded JQL queries are not allowed here. Please add a search restriction to your query."


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
            "/project/{key}/versions": api.versions,
            "/issue/{key}/comment": api.comments,
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
            paths.append(_route(root + "/issue/bulkfetch", api.guarded(api.bulk_issues), "POST"))
        paths.append(Route(root + "/serverInfo", api.server_info))
        for path, handler in {**here, **both}.items():
            methods = ("GET", "POST") if path == "/search" else ("GET",)
            paths.append(_route(root + path, api.guarded(handler), *methods))
    agile = {"/board": api.boards, "/board/{id:int}/sprint": api.board_sprints, "/sprint/{id:int}": api.sprint}
    paths += [_route(f"/rest/agile/1.0{path}", api.guarded(handler), "GET") for path, handler in agile.items()]
    return [*paths, Route("/{rest:path}", api.not_found)]


_Handler = Callable[[Request, State, Json], Response]


def _route(path: str, handler: Callable[[Request], Awaitable[Response]], *methods: str) -> Route:
    return Route(path, handler, methods=list(methods))


def _failure(status: int, *messages: str, headers: dict[str, str] | None = None) -> Response:
    return answer({"errorMessages": list(messages), "errors": {}}, status, headers)


class _Jira:
    def __init__(self, live: Live, *, cloud: bool) -> None:
        self.live, self.cloud, self.shapes = live, cloud, Shapes(live, cloud=cloud)

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
        return answer(info | {"buildNumber": 100291, "serverTime": self.shapes.time(self.live.state().now)})

    # People, fields, projects

    def myself(self, request: Request, state: State, given: Json) -> Response:
        """The account of the token."""
        me = Person("observer", "Forge Observer", "5f00000000observer000000", 1, self.live.settings.jira_zone)
        return answer({**self.shapes.user(me, given), "timeZone": self.live.settings.jira_zone, "locale": "en_GB"})

    def fields(self, request: Request, state: State, given: Json) -> Response:
        """System and custom fields."""
        return answer(field_list())

    def project(self, request: Request, state: State, given: Json) -> Response:
        """One project."""
        name = request.path_params["key"]
        project = PROJECTS.get(name) or next((p for p in PROJECTS.values() if p.id == name), None)
        if project is None:
            return _failure(404, f"No project could be found with key '{name}'.")
        return answer(self.shapes.whole_project(project, given))

    def projects(self, request: Request, state: State, given: Json) -> Response:
        """All projects (Data Center)."""
        return answer([self.shapes.project(project, given) for project in PROJECTS.values()])

    def project_search(self, request: Request, state: State, given: Json) -> Response:
        """All projects, paged (Cloud)."""
        keys = set(request.query_params.getlist("keys"))
        found = [self.shapes.project(p, given) for p in PROJECTS.values() if not keys or p.key in keys]
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

    def versions(self, request: Request, state: State, given: Json) -> Response:
        """The versions of a project."""
        key = request.path_params["key"]
        if key not in PROJECTS:
            return _failure(404, f"No project could be found with key '{key}'.")
        return answer([self.shapes.version(v, given) for v in state.site.versions.values() if v.project == key])

    # Boards and sprints (Agile API 1.0)

    def boards(self, request: Request, state: State, given: Json) -> Response:
        """Boards, of one project if that is asked for."""
        wanted = given.get("projectKeyOrId")
        if wanted is not None and not any(wanted in (p.key, p.id) for p in PROJECTS.values()):
            return _failure(400, f"No project could be found with key or id '{wanted}'.")
        base = f"{given['self']}/rest/agile/1.0/board"
        found = [
            {"id": id_, "self": f"{base}/{id_}", "name": f"{project.name} board", "type": kind}
            for first, project in BOARDS.items()
            for id_, kind in ((first, "scrum"), (first + 50, "kanban"))
            if wanted in (None, project.key, project.id)
        ]
        return answer(_page(found, given, 50))

    def board_sprints(self, request: Request, state: State, given: Json) -> Response:
        """The sprints made on a board, in some states if those are asked for."""
        board = request.path_params["id"]
        if board - 50 in BOARDS:
            return _failure(400, "The board does not support sprints")
        if board not in BOARDS:
            return _failure(404, f"Board with ID {board} does not exist or you do not have permission to view it.")
        states = set(given["state"].split(",")) if given.get("state") else {"future", "active", "closed"}
        found = [one for one in state.site.sprints.values() if one.board == board and one.state in states]
        return answer(_page([self.shapes.sprint(one, board="originBoardId") for one in found], given, 50))

    def sprint(self, request: Request, state: State, given: Json) -> Response:
        """One sprint."""
        found = state.site.sprints.get(request.path_params["id"])
        if found is None:
            return _failure(404, "Sprint does not exist")
        return answer(self.shapes.sprint(found, board="originBoardId"))

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
        rows = self._found(query, state)
        token = given.get("nextPageToken")
        if token:
            after = _read_token(token, str(given.get("jql", "")))
            if after is None:
                return _failure(400, "The provided next page token is invalid or expired.")
            rows = [row for row in rows if list(query.order(row)) > after]
        page = rows[: min(size, most)]
        shape: Json = {
            "issues": [self.shapes.issue(row, fields, given) for row in page],
            "isLast": len(page) == len(rows),
        }
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
        if start + size > WINDOW:
            text = f"it requests {start + size} results which exceeded the search platform limit of {WINDOW}"
            return _failure(500, f"Search limit exceeded. We couldn't complete your search because {text}.")
        rows = self._found(query, state)
        issues = [self.shapes.issue(row, fields, given) for row in rows[start : start + size]]
        return answer(
            {"expand": "schema,names", "startAt": start, "maxResults": size, "total": len(rows), "issues": issues}
        )

    def _found(self, query: Query, state: State) -> list[Issue]:
        """What the search's index knows: it learns of an issue only some time after it was created or updated."""
        known = state.now - timedelta(seconds=self.live.settings.jira_index_seconds)
        rows = (i for i in state.issues.values() if i.updated_at <= known or not self.live.settings.jira_index_seconds)
        return sorted(filter(query.matches, rows), key=query.order)

    def _query(self, given: Json, state: State) -> Query:
        return parse(str(given.get("jql", "")), zone=self.shapes.zone, now=state.now)

    # Issues and changelogs

    def issue(self, request: Request, state: State, given: Json) -> Response:
        """One issue."""
        found = state.site.find(request.path_params["key"])
        if found is None:
            return _failure(404, "Issue does not exist or you do not have permission to see it.")
        return answer(self.shapes.issue(found, _wanted_fields(given.get("fields"), default=("*all",)), given))

    def changelog(self, request: Request, state: State, given: Json) -> Response:
        """Cloud: the changelog of one issue, oldest first."""
        found = state.site.find(request.path_params["key"])
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
        return answer(shape | {"values": [self.shapes.history(h, given) for h in page]})

    def comments(self, request: Request, state: State, given: Json) -> Response:
        """The comments of one issue, oldest first, paged."""
        found = state.site.find(request.path_params["key"])
        if found is None:
            return _failure(404, "Issue does not exist or you do not have permission to see it.")
        page = _page(found.comments, given, 100)
        return answer(
            {name: page[name] for name in ("startAt", "maxResults", "total")}
            | {"comments": [self.shapes.comment(comment, given) for comment in page["values"]]}
        )

    def bulk_issues(self, request: Request, state: State, given: Json) -> Response:
        """Cloud: up to 100 issues; those that are not there are left out."""
        names = given.get("issueIdsOrKeys")
        if not isinstance(names, list) or not 1 <= len(names) <= 100:
            return _failure(400, "issueIdsOrKeys must hold between 1 and 100 issues.")
        fields = _wanted_fields(given.get("fields"), default=("*all",))
        found = {issue.created.id: issue for name in names if (issue := state.site.find(str(name))) is not None}
        return answer({"issues": [self.shapes.issue(i, fields, given) for i in found.values()], "issueErrors": []})

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
        issues = {issue.created.id: issue for key in keys if (issue := state.site.find(str(key))) is not None}
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
            logs.setdefault(issue_id, []).append(self.shapes.history(history, given, set(ids)))
        shape: Json = {"issueChangeLogs": [{"issueId": key, "changeHistories": made} for key, made in logs.items()]}
        if len(page) < len(rows):
            last = page[-1][1]
            shape["nextPageToken"] = _token([int(last.at.timestamp() * 1000 + 0.5), int(last.id)], "bulk")
        return answer(shape)


def _page(rows: list[Any], given: Json, most: int) -> Json:
    """A page by startAt and maxResults."""
    start, size = whole_number(given.get("startAt"), 0) or 0, whole_number(given.get("maxResults"), most) or most
    size = min(size, most)
    last = start + size >= len(rows)
    return {
        "maxResults": size, "startAt": start, "total": len(rows), "isLast": last, "values": rows[start : start + size],
    }  # fmt: skip


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
