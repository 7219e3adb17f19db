"""What a Langfuse server has, and how it is read: by cursor (v2 observations, v3 scores) or by page number (older).

A reader gives the pages of a closed window of time. Short and even empty pages are no end: of a cursor it is the page
that gives no further one, of numbered pages the number that the server tells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from forge_stack.model import LangfuseSource

from forge_pipelines.http import Api
from forge_pipelines.problems import LoadError
from forge_pipelines.tables import iso

Rows = list[dict[str, Any]]
Params = dict[str, Any]

OBSERVATIONS_A_PAGE = 1000
LISTED_A_PAGE = 100
SMALLEST_PAGE = 10
GROW_AFTER = 10
"""Pages of a smaller size that must go well before the size is doubled again."""
GROUPS = "core,basic,time,metadata,model,usage,prompt,trace_context"
SWEPT_GROUPS = "core,time"
SCORE_GROUPS = "details,subject,annotation"
ATTEMPTS_AT_FULL_SIZE = 2

SCORE_APIS = {"v3": "/api/public/v3/scores", "v2": "/api/public/v2/scores", "v1": "/api/public/scores"}


@dataclass(frozen=True)
class Server:
    """What the server has. `cursor`: v2 observations, of which traces and sessions are made; else pages of each."""

    cursor: bool
    scores: str | None
    sessions: bool

    @property
    def newest(self) -> bool:
        """Whether there is nothing better to be found by asking again."""
        return self.cursor and self.scores == "v3"


def probe(api: Api) -> Server:
    """Ask what there is: the server says 404, 405, 410 or 501 to the rest. Three to five tiny requests."""
    cursor = answers(api, "/api/public/v2/observations", fields="core")
    scores = next((name for name, path in SCORE_APIS.items() if answers(api, path)), None)
    return Server(cursor, scores, sessions=not cursor and answers(api, "/api/public/sessions"))


def answers(api: Api, path: str, **params: str) -> bool:
    """Whether the server has an endpoint."""
    try:
        api.get(path, {**params, "limit": 1}, what=f"whether it has {path}")
    except LoadError as error:
        if error.reason == "NotFound":
            return False
        raise
    return True


def project_id(api: Api) -> str:
    """The project that the keys belong to."""
    answer = api.get("/api/public/projects", what="the project of the keys")
    try:
        return str(answer["data"][0]["id"])
    except (KeyError, IndexError, TypeError) as error:
        raise LoadError(
            "BadResponse",
            f"{api.host} names no project for these keys; use the keys of a project, not of an organisation",
        ) from error


@dataclass(frozen=True)
class Reader:
    """Reads one entity in [start, end) of its time; `start` None is the beginning."""

    walk: Callable[[Params], Iterator[Rows]]
    low: str
    high: str
    params: Params

    def window(self, start: datetime | None, end: datetime, **more: Any) -> Iterator[Rows]:
        """The pages of a window that hold something."""
        times = {self.high: iso(end)} | ({self.low: iso(start)} if start else {})
        return (rows for rows in self.walk({**self.params, **times, **more}) if rows)

    def anything_before(self, end: datetime) -> bool:
        """Whether there is anything before a moment."""
        return next(self.window(None, end, limit=1), None) is not None


def readers(api: Api, spec: LangfuseSource, server: Server) -> dict[str, Reader]:
    """How each entity is read."""
    environments: Params = {"environment": spec.environments} if spec.environments else {}
    found: dict[str, Reader] = {}
    if server.cursor:
        path = "/api/public/v2/observations"
        params: Params = {"fields": GROUPS, "expandMetadata": ",".join(expanded(spec)), "limit": OBSERVATIONS_A_PAGE}
        found["observations"] = Reader(
            lambda p: by_cursor(api, path, p, "observations"), "fromStartTime", "toStartTime", params | environments
        )
    else:
        found["observations"] = listed(api, "observations", "StartTime", environments)
        found["traces"] = listed(api, "traces", "Timestamp", {"fields": "core,io,metrics"} | environments)
    if server.scores == "v3":
        params = {"fields": SCORE_GROUPS, "limit": LISTED_A_PAGE}
        params |= {"environment": ",".join(spec.environments)} if spec.environments else {}
        path_v3 = SCORE_APIS["v3"]
        found["scores"] = Reader(lambda p: by_cursor(api, path_v3, p, "scores"), "fromTimestamp", "toTimestamp", params)
    elif server.scores:
        found["scores"] = listed(api, SCORE_APIS[server.scores].removeprefix("/api/public/"), "Timestamp", environments)
    if server.sessions:
        found["sessions"] = listed(api, "sessions", "Timestamp", environments)
    return found


def expanded(spec: LangfuseSource) -> list[str]:
    """Metadata keys that are to come whole: the server cuts others at 200 letters. A path is asked for by its head."""
    keys = spec.metadata_keys
    wanted = [*keys.ticket, *keys.stage, *keys.repository, *keys.event, "attempt"]
    return list(dict.fromkeys(part for key in wanted for part in (key, key.partition(".")[0])))


def listed(api: Api, entity: str, suffix: str, params: Params) -> Reader:
    """A reader of numbered pages."""
    path = f"/api/public/{entity}"
    return Reader(
        lambda p: by_page(api, path, p, entity), f"from{suffix}", f"to{suffix}", {"limit": LISTED_A_PAGE} | params
    )


def by_cursor(api: Api, path: str, params: Mapping[str, Any], what: str) -> Iterator[Rows]:
    """Pages until no cursor is given."""
    walk = CursorWalk(api, path, dict(params), what)
    answer = walk.next()
    while True:
        yield data_of(api, answer)
        cursor = (answer.get("meta") or {}).get("cursor")
        if not cursor:
            return
        answer = walk.next(cursor)


@dataclass
class CursorWalk:
    """Asks page after page, for less where a page is too heavy for the server, then for more again."""

    api: Api
    path: str
    asked: Params
    what: str
    good: int = 0

    def __post_init__(self) -> None:
        """Begin with full pages."""
        self.full = self.size = int(self.asked["limit"])

    def next(self, cursor: str | None = None) -> Any:
        """The page of a cursor; the first one without."""
        if cursor and cursor == self.asked.get("cursor"):
            raise LoadError(
                "BadResponse", f"{self.api.host} gives the same cursor of {self.what} twice: the walk would not end"
            )
        self.asked |= {"cursor": cursor} if cursor else {}
        while True:
            attempts = ATTEMPTS_AT_FULL_SIZE if self.size > SMALLEST_PAGE else None
            params = {**self.asked, "limit": self.size}
            try:
                answer = self.api.send("GET", self.path, params=params, what=self.what, passing_attempts=attempts)
            except LoadError as error:
                # Langfuse says 422 to a query that needs too much, a proxy 413 to a body that is too long, or 5xx.
                heavy = error.reason in ("BadResponse", "InvalidConfiguration", "Unreachable")
                if not heavy or self.size <= SMALLEST_PAGE:
                    raise
                self.size, self.good = max(self.size // 2, SMALLEST_PAGE), 0
                continue
            self.good += 1
            if self.size < self.full and self.good >= GROW_AFTER:
                self.size, self.good = min(self.size * 2, self.full), 0
            return answer


def by_page(api: Api, path: str, params: Mapping[str, Any], what: str) -> Iterator[Rows]:
    """Pages by number. In a closed window a late row moves others down: they are read twice, none is lost."""
    page = 1
    while True:
        answer = api.get(path, {**params, "page": page}, what=what)
        rows = data_of(api, answer)
        yield rows
        pages = (answer.get("meta") or {}).get("totalPages")
        if page >= int(pages) if pages is not None else not rows:
            return
        page += 1


def data_of(api: Api, answer: Any) -> Rows:
    """The rows of an answer. Raises LoadError (BadResponse) when it has none."""
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list):
        raise LoadError(
            "BadResponse", f"{api.host} answers without a list of data; check that langfuse.url is the server's"
        )
    return data
