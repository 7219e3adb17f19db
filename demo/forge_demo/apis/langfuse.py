"""Langfuse's public API: the v2 observations and v3 scores cursors, and the legacy pages.

Shapes: the models of Langfuse's SDK (`langfuse`, version 5 for v2 and v3, version 3 for the legacy pages).
"""

from __future__ import annotations

import base64
import json
from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from forge_demo import organisation as org
from forge_demo.apis import langfuse_shapes as shape
from forge_demo.apis.common import Budget, Handler, Json, Live, answer, basic_auth, iso_millis, moment, whole_number
from forge_demo.apis.langfuse_copies import Copies
from forge_demo.state import ObservationState, Score, State, Trace


def routes(live: Live) -> list[Route]:
    """The paths under the base URL."""
    api = _Langfuse(live)
    paths: dict[str, Callable[[Request, State], Response]] = {
        "/api/public/projects": api.projects,
        "/api/public/v2/observations": api.observations_v2,
        "/api/public/v3/scores": api.scores_v3,
        "/api/public/traces": api.traces,
        "/api/public/traces/{id}": api.trace,
        "/api/public/observations": api.observations,
        "/api/public/sessions": api.sessions,
        "/api/public/v2/scores": api.scores_v2,
        "/api/public/scores": api.scores_v1,
    }
    guarded = [Route(path, api.guarded(handler)) for path, handler in paths.items()]
    return [Route("/api/public/health", api.health), *guarded, Route("/{rest:path}", api.not_found)]


def _page_of_the_web_application() -> Response:
    return Response("<!DOCTYPE html><html><body>404</body></html>", 404, media_type="text/html")


PLANS = {"hobby": (30, 15), "core": (1000, 30), "pro": (1000, 100)}
"""Requests a minute: of all endpoints, and of the older ones (Langfuse's documentation, "API limits")."""
LEGACY = {"traces", "observations", "sessions", "v2/scores", "scores"}


def _limited(budget: Budget) -> Response:
    reset = datetime.fromtimestamp(budget.resets_at, UTC)
    headers = {"Retry-After": str(budget.wait_seconds), "X-RateLimit-Limit": str(budget.limit)}
    # Langfuse writes the reset as JavaScript writes a date.
    shown = f"{reset:%a %b %d %Y %H:%M:%S} GMT+0000 (Coordinated Universal Time)"
    headers |= {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": shown}
    return answer({"error": "Rate limit exceeded", "message": "Rate limit exceeded"}, 429, headers)


class _Langfuse:
    def __init__(self, live: Live) -> None:
        self.live = live

    def guarded(self, handler: Callable[[Request, State], Response]) -> Handler:
        """Ask for credentials and budget first."""

        @wraps(handler)
        async def checked(request: Request) -> Response:
            known = self.live.settings.credentials
            if "authorization" not in request.headers:
                return answer({"error": "UnauthorizedError", "message": "No authorization header"}, 401)
            if basic_auth(request) != (known.langfuse_public_key, known.langfuse_secret_key):
                text = "Invalid credentials. Confirm that you've configured the correct host."
                return answer({"error": "UnauthorizedError", "message": text}, 401)
            for budget in self._budgets(request.url.path):
                if not budget.take(1):
                    return _limited(budget)
            try:
                return handler(request, self.live.state())
            except _BadRequestError as error:
                return answer({"message": "Invalid request data", "error": [error.issue]}, 400)

        return checked

    def _budgets(self, path: str) -> list[Budget]:
        """That of all requests, and that of the plan: so many a minute, fewer of the older endpoints."""
        found = [self.live.budget("langfuse")]
        if (plan := self.live.settings.langfuse_plan) is not None:
            general, older = PLANS[plan]
            kind = "legacy" if path.removeprefix("/langfuse/api/public/").split("/{")[0] in LEGACY else "general"
            found.append(self.live.budget(f"langfuse/{kind}", older if kind == "legacy" else general, seconds=60))
        return found

    async def health(self, request: Request) -> Response:
        """No credentials are needed."""
        return answer({"status": "OK", "version": "4.4.0" if self.live.settings.langfuse_v2 else "3.126.0"})

    async def not_found(self, request: Request) -> Response:
        """Langfuse's page for unknown paths is its web application's."""
        return _page_of_the_web_application()

    def projects(self, request: Request, state: State) -> Response:
        """The project of the key."""
        project = {
            "id": org.LANGFUSE_PROJECT_ID,
            "name": org.LANGFUSE_PROJECT_NAME,
            "organization": {"id": "clorg-acme", "name": org.ORGANISATION},
            "metadata": {},
        }
        return answer({"data": [project]})

    # Cursors

    def observations_v2(self, request: Request, state: State) -> Response:
        """Newest start time first; metadata values are cut unless asked for."""
        if not self.live.settings.langfuse_v2:
            text = "v2 APIs are not available on this server"
            return answer({"error": "LangfuseNotFoundError", "message": text}, 404)
        query = request.query_params
        if query.get("parseIoAsJson") == "true":
            raise _BadRequestError("parseIoAsJson", "parseIoAsJson is no longer supported")
        limit = _limit(query.get("limit"), 1000)
        groups = _groups(query.get("fields"))
        expanded = set(filter(None, query.get("expandMetadata", "").split(",")))
        rows = _observations(request, state)
        position, page = _read_cursor(query.get("cursor"))
        length = _page_length(limit, page) if self.live.settings.short_pages else limit
        if (count := self.live.settings.langfuse_copies) > 1:
            many = Copies([row for _, row in rows], count, query.get("traceId"))
            begin = int(position[0]) if position else 0
            end = min(begin + length, len(many))
            meta = {"cursor": _cursor((str(end), "", ""), page + 1)} if end < len(many) else {}
            return answer(
                {
                    "data": [shape.observation_v2(row, groups, expanded) for row in many.between(begin, end)],
                    "meta": meta,
                }
            )
        if position is not None:
            rows = rows[bisect_right(rows, _Descending(position), key=lambda row: _Descending(row[0])) :]
        taken = rows[:length]
        meta = {"cursor": _cursor(taken[-1][0] if taken else position, page + 1)} if len(taken) < len(rows) else {}
        return answer({"data": [shape.observation_v2(row, groups, expanded) for _, row in taken], "meta": meta})

    def scores_v3(self, request: Request, state: State) -> Response:
        """Newest first."""
        if not self.live.settings.langfuse_v2:
            text = "v3 APIs are not available on this server"
            return answer({"error": "LangfuseNotFoundError", "message": text}, 404)
        limit = _limit(request.query_params.get("limit"), 100)
        query = request.query_params
        groups = set(filter(None, query.get("fields", "").split(",")))
        if unknown := groups - {"details", "subject", "annotation"}:
            raise _BadRequestError("fields", f"Unknown field group {sorted(unknown)[0]}")
        if "observationId" in query and "traceId" not in query:
            raise _BadRequestError("observationId", "observationId requires traceId")
        rows = sorted(_scores(request, state), key=_v3_key, reverse=True)
        position, page = _read_cursor(query.get("cursor"))
        if position is not None:
            rows = [row for row in rows if _v3_key(row) < position]
        taken = rows[: _page_length(limit, page) if self.live.settings.short_pages else limit]
        meta: Json = {"limit": limit}
        if len(taken) < len(rows):
            meta["cursor"] = _cursor(_v3_key(taken[-1]) if taken else position, page + 1)
        return answer({"data": [shape.score_v3(row, groups, state) for row in taken], "meta": meta})

    # Legacy pages

    def traces(self, request: Request, state: State) -> Response:
        """By page; newest first unless orderBy says else."""
        query = request.query_params
        rows = [trace for trace in state.traces.values() if _wanted_trace(request, trace)]
        rows = _between(rows, lambda t: t.ingested.timestamp, query.get("fromTimestamp"), query.get("toTimestamp"))
        column, _, direction = query.get("orderBy", "timestamp.desc").partition(".")
        keys: dict[str, Callable[[Trace], Any]] = {
            "timestamp": lambda t: (t.ingested.timestamp, t.ingested.id),
            "name": lambda t: (t.ingested.name, t.ingested.id),
            "id": lambda t: t.ingested.id,
            "createdAt": lambda t: (t.ingested.at, t.ingested.id),
            "updatedAt": lambda t: (t.updated_at, t.ingested.id),
        }
        if column not in keys or direction not in ("asc", "desc"):
            raise _BadRequestError("orderBy", f"cannot order by {query.get('orderBy')}")
        rows.sort(key=keys[column], reverse=direction == "desc")
        fields = set(filter(None, query.get("fields", "core,io,scores,observations,metrics").split(",")))
        scores = _scores_by_trace(state) if "scores" in fields else {}
        return self._page(request, rows, lambda trace: shape.trace(trace, fields, scores))

    def trace(self, request: Request, state: State) -> Response:
        """One trace with its observations and scores in full."""
        found = state.traces.get(request.path_params["id"])
        if found is None:
            text = f"Trace {request.path_params['id']} not found within authorized project"
            return answer({"error": "LangfuseNotFoundError", "message": text}, 404)
        whole = shape.trace(found, {"core", "io", "metrics"}, {})
        whole["observations"] = [shape.observation(o) for o in found.observations]
        whole["scores"] = [
            shape.score_v2(s, state) for s in state.scores.values() if s.added.trace == found.ingested.id
        ]
        return answer(whole)

    def observations(self, request: Request, state: State) -> Response:
        """By page, newest start time first."""
        return self._page(request, _observations(request, state), lambda row: shape.observation(row[1]))

    def sessions(self, request: Request, state: State) -> Response:
        """By page, newest first."""
        query = request.query_params
        environments = query.getlist("environment")
        rows = [item for item in state.sessions.items() if not environments or item[1].environment in environments]
        rows = _between(rows, lambda item: item[1].at, query.get("fromTimestamp"), query.get("toTimestamp"))
        rows.sort(key=lambda item: (item[1].at, item[0]), reverse=True)
        return self._page(request, rows, shape.session)

    def scores_v2(self, request: Request, state: State) -> Response:
        """By page, newest first."""
        if not self.live.settings.langfuse_scores_v2:
            return _page_of_the_web_application()
        rows = sorted(_scores(request, state), key=_v3_key, reverse=True)
        return self._page(request, rows, lambda score: shape.score_v2(score, state))

    def scores_v1(self, request: Request, state: State) -> Response:
        """By page, newest first; of traces alone."""
        rows = [score for score in _scores(request, state) if score.added.session is None]
        return self._page(request, sorted(rows, key=_v3_key, reverse=True), lambda s: shape.score_v2(s, state))

    def _page(self, request: Request, rows: list[Any], make: Callable[[Any], Json]) -> Response:
        if not self.live.settings.langfuse_legacy:
            text = "This endpoint was removed; use the v2 and v3 endpoints"
            return answer({"error": "LangfuseNotFoundError", "message": text}, 404)
        limit = _limit(request.query_params.get("limit"), 100)
        page = whole_number(request.query_params.get("page"), 1)
        if page is None or page < 1:
            raise _BadRequestError("page", "Number must be greater than 0")
        taken = rows[(page - 1) * limit : page * limit]
        meta = {"page": page, "limit": limit, "totalItems": len(rows), "totalPages": -(-len(rows) // limit)}
        return answer({"data": [make(row) for row in taken], "meta": meta})


class _BadRequestError(Exception):
    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.issue = {"code": "custom", "path": [path], "message": message}


# Selection


def _limit(text: str | None, most: int) -> int:
    limit = whole_number(text, 50)
    if limit is None or limit < 1:
        raise _BadRequestError("limit", "Expected a number greater than 0")
    if limit > most:
        raise _BadRequestError("limit", f"Number must be less than or equal to {most}")
    return limit


def _groups(text: str | None) -> set[str]:
    groups = {"core", *(text or "basic").split(",")} - {""}
    unknown = groups - set(shape.GROUPS)
    if unknown:
        raise _BadRequestError("fields", f"Unknown field group {sorted(unknown)[0]}")
    return groups


def _time(text: str | None, name: str) -> datetime | None:
    if not text:
        return None
    found = moment(text)
    if found is None:
        raise _BadRequestError(name, "Invalid datetime")
    return found


def _between(rows: list[Any], key: Callable[[Any], datetime], low: str | None, high: str | None) -> list[Any]:
    begin, end = _time(low, "from"), _time(high, "to")
    if begin is None and end is None:
        return rows
    return [row for row in rows if (begin is None or key(row) >= begin) and (end is None or key(row) < end)]


def _wanted_trace(request: Request, trace: Trace) -> bool:
    query, it = request.query_params, trace.ingested
    environments = query.getlist("environment")
    return (
        query.get("userId", it.user) == it.user
        and query.get("sessionId", it.session) == it.session
        and query.get("name", it.name) == it.name
        and query.get("release", it.release) == it.release
        and query.get("version", it.version) == it.version
        and set(query.getlist("tags")) <= set(it.tags)
        and (not environments or it.environment in environments)
    )


def _newest_first(state: State) -> list[tuple[Position, ObservationState]]:
    rows = [(_v2_key(row), row) for trace in state.traces.values() for row in trace.observations]
    return sorted(rows, key=lambda row: row[0], reverse=True)


def _observations(request: Request, state: State) -> list[tuple[Position, ObservationState]]:
    """What the query selects, newest start time first."""
    query = request.query_params
    environments = query.getlist("environment")
    rows = state.once("observations, newest first", _newest_first)
    rows = _between(rows, lambda r: r[1].observation.started_at, query.get("fromStartTime"), query.get("toStartTime"))
    if environments:
        rows = [row for row in rows if row[1].trace.ingested.environment in environments]
    wanted: dict[str, Callable[[ObservationState], str | None]] = {
        "traceId": lambda r: r.trace.ingested.id,
        "userId": lambda r: r.trace.ingested.user,
        "sessionId": lambda r: r.trace.ingested.session,
        "name": lambda r: r.observation.name,
        "type": lambda r: r.observation.type,
        "level": lambda r: r.observation.level,
        "parentObservationId": lambda r: r.observation.parent or "",
        "isRootObservation": lambda r: "true" if r.observation.parent is None else "false",
        "version": lambda r: r.trace.ingested.version,
    }
    for name, of in wanted.items():
        if name in query:
            value = query[name].partition("-")[0] if name == "traceId" else query[name]
            rows = [row for row in rows if of(row[1]) == value]
    return rows


def _scores(request: Request, state: State) -> list[Score]:
    """What the query selects. v3 takes lists with commas, the older pages repeat `environment`."""
    query = request.query_params

    def wanted(name: str, value: str | None) -> bool:
        given = [part for text in query.getlist(name) for part in text.split(",")]
        return not given or value in given

    def selected(score: Score) -> bool:
        it = score.added
        return (
            wanted("name", it.name)
            and wanted("source", it.source)
            and wanted("dataType", it.kind)
            and wanted("configId", it.config)
            and wanted("authorUserId", it.author)
            and wanted("traceId", None if it.session else it.trace)
            and wanted("observationId", it.observation)
            and wanted("sessionId", it.session)
            and wanted("environment", state.traces[it.trace].ingested.environment)
        )

    rows = [score for score in state.scores.values() if selected(score)]
    return _between(rows, lambda s: s.timestamp, query.get("fromTimestamp"), query.get("toTimestamp"))


def _scores_by_trace(state: State) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for score in state.scores.values():
        if score.added.session is None:
            found.setdefault(score.added.trace, []).append(score.added.id)
    return found


# Cursors

Position = tuple[str, str, str]


def _v3_key(score: Score) -> Position:
    return iso_millis(score.timestamp) or "", "", score.added.id


def _v2_key(row: ObservationState) -> Position:
    return iso_millis(row.observation.started_at) or "", row.trace.ingested.id, row.observation.id


class _Descending:
    """Orders positions from the newest to the oldest."""

    def __init__(self, position: Position) -> None:
        self.position = position

    def __lt__(self, other: _Descending) -> bool:
        return self.position > other.position


def _cursor(position: Position | None, page: int) -> str:
    return base64.b64encode(json.dumps([position, page]).encode()).decode()


def _read_cursor(text: str | None) -> tuple[Position | None, int]:
    if not text:
        return None, 0
    try:
        position, page = json.loads(base64.b64decode(text, validate=True))
        return (tuple(position) if position is not None else None), int(page)
    except (ValueError, TypeError) as error:
        raise _BadRequestError("cursor", "Invalid cursor") from error


def _page_length(limit: int, page: int) -> int:
    """Some pages are short and some are empty, while a cursor is still given: the real server's scan does that."""
    return {3: limit // 2, 5: 0}.get(page % 7, limit)
