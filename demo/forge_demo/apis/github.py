"""GitHub: REST and GraphQL, at github.com's paths (`/repos`, `/graphql`) and at Enterprise's (`/api/v3/...`)."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from forge_demo import organisation as org
from forge_demo.apis import github_rest as shape
from forge_demo.apis.common import Budget, Json, Live, answer, moment, whole_number
from forge_demo.apis.github_graphql import run
from forge_demo.state import PullRequest, State

MAX_PAGE, FILTERED_RUNS = 100, 1000
_DOCS = "https://docs.github.com/rest"


def routes(live: Live) -> list[BaseRoute]:
    """The paths under the base URL."""
    api = _GitHub(live)
    rest: dict[str, _Handler] = {
        "/": api.root,
        "/user": api.user,
        "/rate_limit": api.rate_limit,
        "/orgs/{owner}/repos": api.repositories,
        "/repos/{owner}/{repo}": api.repository,
        "/repos/{owner}/{repo}/pulls": api.pulls,
        "/repos/{owner}/{repo}/pulls/{number:int}": api.pull,
        "/repos/{owner}/{repo}/pulls/{number:int}/reviews": api.reviews,
        "/repos/{owner}/{repo}/pulls/{number:int}/commits": api.commits,
        "/repos/{owner}/{repo}/actions/runs": api.runs,
        "/repos/{owner}/{repo}/deployments": api.deployments,
        "/repos/{owner}/{repo}/deployments/{id:int}/statuses": api.deployment_statuses,
    }
    paths = [Route(path, api.guarded(handler)) for path, handler in rest.items()]
    graphql = Route("/graphql", api.graphql, methods=["POST"])
    missing = Route("/{rest:path}", api.not_found)
    return [
        Route("/api/graphql", api.graphql, methods=["POST"]),
        Mount("/api/v3", routes=[*paths, missing]),
        graphql,
        *paths,
        missing,
    ]


class _FoundNothingError(Exception):
    pass


_Handler = Callable[["_Call"], Response]


class _Call:
    """One REST request: its parameters, and answers with paging and an ETag."""

    def __init__(self, request: Request, state: State) -> None:
        self.request, self.state = request, state
        self.query, self.path = request.query_params, request.path_params
        self.base = str(request.base_url).rstrip("/")

    @property
    def repository(self) -> str:
        """The repository of the path. Raises _FoundNothingError."""
        name = str(self.path["repo"]).lower()
        if str(self.path["owner"]).lower() != org.ORGANISATION or name not in org.REPOSITORIES:
            raise _FoundNothingError
        return name

    @property
    def pull(self) -> PullRequest:
        """The pull request of the path. Raises _FoundNothingError."""
        for pull in self.state.pulls_of(self.repository):
            if pull.number == self.path["number"]:
                return pull
        raise _FoundNothingError

    def page(self, rows: Sequence[Any], make: Callable[[Any], Json], wrap: str | None = None) -> Response:
        """A page with its Link header; `wrap`: the key of the list in an object with total_count."""
        size = min(max(whole_number(self.query.get("per_page"), 30) or 30, 1), MAX_PAGE)
        number = max(whole_number(self.query.get("page"), 1) or 1, 1)
        last = max(1, -(-len(rows) // size))
        made: Any = [make(row) for row in rows[(number - 1) * size : number * size]]
        links: dict[str, int] = {}
        if number > 1:
            links |= {"prev": number - 1, "first": 1}
        if number < last:
            links |= {"next": number + 1, "last": last}
        headers = {}
        if links:
            address = self.request.url
            headers["Link"] = ", ".join(
                f'<{address.include_query_params(page=n)}>; rel="{rel}"' for rel, n in links.items()
            )
        return answer({"total_count": len(rows), wrap: made} if wrap else made, headers=headers)


class _GitHub:
    def __init__(self, live: Live) -> None:
        self.live = live

    def guarded(self, handler: _Handler) -> Callable[[Request], Awaitable[Response]]:
        """Token, budget, ETag, rate-limit headers, 404."""

        @wraps(handler)
        async def checked(request: Request) -> Response:
            refused = self._refused(request)
            if refused is not None:
                return refused
            budget = self.live.budget("github")
            try:
                found = handler(_Call(request, self.live.state()))
            except _FoundNothingError:
                found = answer({"message": "Not Found", "documentation_url": _DOCS, "status": "404"}, 404)
            etag = f'W/"{hashlib.sha256(bytes(found.body)).hexdigest()}"'
            if found.status_code == 200 and etag in request.headers.get("if-none-match", ""):
                return Response(None, 304, {"ETag": etag, **_limits(budget, "core")})
            if not budget.take(1):
                text = "API rate limit exceeded for user ID 7000002."
                body = {"message": text, "documentation_url": f"{_DOCS}/overview/rate-limits-for-the-rest-api"}
                return answer(body, 403, _limits(budget, "core"))
            found.headers.update(
                {"ETag": etag, "Cache-Control": "private, max-age=60, s-maxage=60", **_limits(budget, "core")}
            )
            found.headers["X-GitHub-Media-Type"] = "github.v3; format=json"
            return found

        return checked

    def _refused(self, request: Request) -> Response | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if not token:
            body = {"message": "Requires authentication", "documentation_url": _DOCS, "status": "401"}
            return answer(body, 401)
        if scheme.lower() not in ("bearer", "token") or token != self.live.settings.credentials.github_token:
            return answer({"message": "Bad credentials", "documentation_url": _DOCS, "status": "401"}, 401)
        return None

    async def not_found(self, request: Request) -> Response:
        """Unknown paths."""
        return answer({"message": "Not Found", "documentation_url": _DOCS, "status": "404"}, 404)

    async def graphql(self, request: Request) -> Response:
        """GraphQL has a budget of points of its own."""
        refused = self._refused(request)
        if refused is not None:
            return refused
        try:
            given = await request.json()
        except ValueError:
            return answer(
                {"message": "Problems parsing JSON", "documentation_url": "https://docs.github.com/graphql"}, 400
            )
        budget = self.live.budget("github_graphql")
        body = run(self.live.state(), given, budget)
        return answer(body, headers=_limits(budget, "graphql"))

    # REST

    def root(self, call: _Call) -> Response:
        """Where things are."""
        return answer({"current_user_url": f"{call.base}/user", "rate_limit_url": f"{call.base}/rate_limit"})

    def user(self, call: _Call) -> Response:
        """Whose token it is."""
        return answer(shape.user(org.PLATFORM.lead))

    def rate_limit(self, call: _Call) -> Response:
        """The budgets."""
        core, graph = (_limits(self.live.budget(name), name) for name in ("github", "github_graphql"))
        numbers = [
            {
                "limit": int(b["X-RateLimit-Limit"]),
                "remaining": int(b["X-RateLimit-Remaining"]),
                "used": int(b["X-RateLimit-Used"]),
            }
            | {"reset": int(b["X-RateLimit-Reset"])}
            for b in (core, graph)
        ]
        return answer(
            {"resources": {"core": numbers[0], "search": numbers[0], "graphql": numbers[1]}, "rate": numbers[0]}
        )

    def repositories(self, call: _Call) -> Response:
        """Those of the organisation."""
        if str(call.path["owner"]).lower() != org.ORGANISATION:
            raise _FoundNothingError
        return call.page(sorted(org.REPOSITORIES), lambda name: shape.repository(name, call.state, call.base))

    def repository(self, call: _Call) -> Response:
        """One repository."""
        return answer(shape.full_repository(call.repository, call.state, call.base))

    def pulls(self, call: _Call) -> Response:
        """Open ones, newest first, unless asked else."""
        query = call.query
        state, sort = query.get("state", "open"), query.get("sort", "created")
        rows = [
            p
            for p in call.state.pulls_of(call.repository)
            if state == "all" or (p.state == "OPEN") == (state == "open")
        ]
        if head := query.get("head"):
            rows = [p for p in rows if f"{org.ORGANISATION}:{p.opened.branch}" == head]
        if base := query.get("base"):
            rows = rows if base == "main" else []
        rows.sort(key=lambda p: (p.updated_at if sort == "updated" else p.opened.at, p.number))
        if query.get("direction", "desc" if sort == "created" and "sort" not in query else "asc") == "desc":
            rows.reverse()
        return call.page(rows, lambda pull: shape.pull_simple(pull, call.state, call.base))

    def pull(self, call: _Call) -> Response:
        """One, with its sizes."""
        return answer(shape.pull_full(call.pull, call.state, call.base))

    def reviews(self, call: _Call) -> Response:
        """Oldest first."""
        pull = call.pull
        return call.page(pull.reviews, lambda review: shape.review(review, pull, call.base))

    def commits(self, call: _Call) -> Response:
        """Oldest first."""
        repository = call.repository
        return call.page(call.pull.commits, lambda commit: shape.commit(commit, repository, call.base))

    def runs(self, call: _Call) -> Response:
        """Newest first; a filtered listing ends after 1,000."""
        query, repository = call.query, call.repository
        rows = [r for r in call.state.runs.values() if r.started.repository == repository]
        rows.sort(key=lambda r: r.id, reverse=True)
        filters: dict[str, Callable[[Any], object]] = {
            "branch": lambda r: r.started.branch,
            "event": lambda r: "pull_request" if r.started.ref else "push",
            "head_sha": lambda r: r.started.sha,
            "actor": lambda r: shape.rest_login(org.BY_LOGIN[r.started.actor]),
        }
        used = {name for name in (*filters, "status", "created") if name in query}
        for name in used & set(filters):
            rows = [r for r in rows if filters[name](r) == query[name]]
        if "status" in used:
            rows = [r for r in rows if query["status"] in (shape.run_status(r), r.conclusion)]
        if "created" in used:
            rows = [r for r in rows if _in_range(r.created_at, query["created"])]
        return call.page(
            rows[:FILTERED_RUNS] if used else rows, lambda r: shape.run(r, call.state, call.base), "workflow_runs"
        )

    def deployments(self, call: _Call) -> Response:
        """Newest first."""
        query, repository = call.query, call.repository
        rows = [d for d in call.state.deployments.values() if d.created.repository == repository]
        rows = [d for d in rows if query.get("environment", d.created.environment) == d.created.environment]
        rows = [d for d in rows if query.get("sha", d.created.sha) == d.created.sha]
        rows.sort(key=lambda d: d.id, reverse=True)
        return call.page(rows, lambda d: shape.deployment(d, call.base))

    def deployment_statuses(self, call: _Call) -> Response:
        """Newest first."""
        repository = call.repository
        wanted = (
            d for d in call.state.deployments.values() if d.id == call.path["id"] and d.created.repository == repository
        )
        found = next(wanted, None)
        if found is None:
            raise _FoundNothingError
        rows = list(reversed(found.statuses))
        return call.page(rows, lambda row: shape.deployment_status(row[0], row[1], found, call.base))


def _in_range(at: Any, text: str) -> bool:
    """GitHub's date filters: 2025-01-01..2025-01-31, >=2025-01-01, <2025-01-01, 2025-01-01."""
    low, _, high = text.partition("..")
    if high:
        begin, end = moment(low), moment(high if "T" in high else high + "T23:59:59Z")
        return (low == "*" or begin is None or at >= begin) and (high == "*" or end is None or at <= end)
    for sign in (">=", "<=", ">", "<"):
        if text.startswith(sign):
            bound = moment(text[len(sign) :])
            return bound is None or {">=": at >= bound, "<=": at <= bound, ">": at > bound, "<": at < bound}[sign]
    return bool(f"{at:%Y-%m-%d}" == text)


def _limits(budget: Budget, resource: str) -> dict[str, str]:
    limit = budget.limit or 5000
    used = budget.used if budget.limit else 0
    return {
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": str(max(0, limit - used)),
        "X-RateLimit-Used": str(used),
        "X-RateLimit-Reset": str(int(budget.resets_at)),
        "X-RateLimit-Resource": resource,
    }
