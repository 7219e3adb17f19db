"""GitHub: REST and GraphQL, at github.com's paths (`/repos`, `/graphql`) and at Enterprise's (`/api/v3/...`)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from forge_demo import github_things as st
from forge_demo import organisation as org
from forge_demo.apis import github_rest as shape
from forge_demo.apis import github_rest_issues as issue_shape
from forge_demo.apis import github_rest_runs as run_shape
from forge_demo.apis.common import Json, Live, answer, moment, whole_number
from forge_demo.apis.github_access import DOCS, Access, limits, refusal
from forge_demo.apis.github_graph import OWNERS, ordered
from forge_demo.apis.github_graphql import run
from forge_demo.github_places import ACCOUNTS
from forge_demo.state import State

MAX_PAGE, FILTERED_RUNS, MAX_COMMITS = 100, 1000, 250


def routes(live: Live) -> list[BaseRoute]:
    """The paths under the base URL. `/repositories/ID` is what renamed repositories and Link headers lead to."""
    access = Access(live)
    api = _GitHub(live, access)
    top: dict[str, _Handler] = {
        "/": api.root,
        "/user": api.user,
        "/rate_limit": api.rate_limit,
        "/orgs/{owner}/repos": api.repositories,
        "/installation/repositories": api.installed,
    }
    inside: dict[str, _Handler] = {
        "": api.repository,
        "/pulls": api.pulls,
        "/pulls/comments": api.all_review_comments,
        "/pulls/{number:int}": api.pull,
        "/pulls/{number:int}/reviews": api.reviews,
        "/pulls/{number:int}/commits": api.commits,
        "/pulls/{number:int}/comments": api.review_comments,
        "/pulls/{number:int}/files": api.files,
        "/issues": api.issues,
        "/issues/comments": api.all_comments,
        "/issues/{number:int}": api.issue,
        "/issues/{number:int}/comments": api.comments,
        "/issues/{number:int}/timeline": api.timeline,
        "/commits/{ref}/check-runs": api.check_runs,
        "/commits/{ref}/check-suites": api.check_suites,
        "/actions/runs": api.runs,
        "/actions/runs/{id:int}": api.run,
        "/actions/runs/{id:int}/jobs": api.jobs,
        "/deployments": api.deployments,
        "/deployments/{id:int}": api.deployment,
        "/deployments/{id:int}/statuses": api.deployment_statuses,
        "/releases": api.releases,
        "/tags": api.tags,
    }
    rest = dict(top)
    for tail, handler in inside.items():
        rest[f"/repos/{{owner}}/{{repo}}{tail}"] = rest[f"/repositories/{{repository_id:int}}{tail}"] = handler
    paths: list[BaseRoute] = [Route(path, api.guarded(handler)) for path, handler in rest.items()]
    paths += [
        Route("/app", access.app),
        Route("/app/installations/{id:int}/access_tokens", access.token, methods=["POST"]),
        Route("/{rest:path}", api.not_found),
    ]
    graphql = [Route(path, api.graphql, methods=["POST"]) for path in ("/api/graphql", "/graphql")]
    live.github_secret = access.secret
    return [*graphql, Mount("/api/v3", routes=paths), *paths]


class _RefusedError(Exception):
    """An answer that is no 200."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


def _nothing() -> _RefusedError:
    return _RefusedError(refusal(404, "Not Found"))


_Handler = Callable[["_Call"], Response]


class _Call:
    """One REST request: what its path names, its parameters, and answers with paging."""

    def __init__(self, request: Request, state: State) -> None:
        self.request, self.state = request, state
        self.query, self.path = request.query_params, request.path_params
        # With the prefix that the API is mounted under, /api/v3 included.
        self.base = f"{request.url.scheme}://{request.url.netloc}{request.scope.get('root_path', '')}".rstrip("/")

    @property
    def repo(self) -> st.Repo:
        """The repository of the path, that the token may see. Raises _RefusedError."""
        hub, number = self.state.hub, self.path.get("repository_id")
        if number is not None:
            repo = next((r for r in hub.repos.values() if r.place.id == number), None)
        else:
            name = f"{self.path['owner']}/{self.path['repo']}".lower()
            repo = hub.names.get(name)
            if repo is not None and repo.full_name.lower() != name:
                raise _RefusedError(self._moved(repo))
        if repo is None:
            raise _nothing()
        return repo

    def _moved(self, repo: st.Repo) -> Response:
        rest = self.request.url.path.split("/repos/", 1)[1].split("/", 2)[2:]
        address = "/".join([f"{self.base}/repositories/{repo.place.id}", *rest])
        address += f"?{self.request.url.query}" if self.request.url.query else ""
        body = {"message": "Moved Permanently", "url": address, "documentation_url": DOCS}
        return answer(body, 301, {"Location": address})

    @property
    def inside(self) -> st.Repo:
        """The repository, to read what is in it. Raises _RefusedError."""
        repo = self.repo
        if repo.place.forbidden:
            raise _RefusedError(refusal(403, "Resource not accessible by personal access token"))
        return repo

    @property
    def pull(self) -> st.PullRequest:
        """The pull request of the path. Raises _RefusedError."""
        pull = self.inside.pulls.get(self.path["number"])
        if pull is None:
            raise _nothing()
        return pull

    @property
    def issue(self) -> st.Issue | st.PullRequest:
        """The issue (or pull request) of the path. Raises _RefusedError."""
        repo, number = self.inside, self.path["number"]
        found = repo.issues.get(number) or repo.pulls.get(number)
        if found is None:
            raise _nothing()
        return found

    @property
    def suites(self) -> list[st.Suite]:
        """The check suites of the commit, branch or tag of the path. Raises _RefusedError."""
        repo, ref = self.inside, str(self.path["ref"])
        tag = repo.tags.get(ref)
        sha = repo.head if ref == "main" else tag.created.sha if tag else ref
        if sha not in repo.commits:
            raise _RefusedError(refusal(422, f"No commit found for SHA: {ref}"))
        app = self.query.get("app_id")
        return [s for s in repo.suites.get(sha, []) if app in (None, str(s.app.id))]

    def sorted(self, rows: list[Any], time: Callable[[Any], Any]) -> list[Any]:
        """By `sort` and `direction`, newest first unless asked else."""
        rows = sorted(rows, key=time)
        if self.query.get("direction", "desc") == "desc":
            rows.reverse()
        return rows

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
            address = self._lasting()
            headers["Link"] = ", ".join(
                f'<{address.include_query_params(page=n)}>; rel="{rel}"' for rel, n in links.items()
            )
        return answer({"total_count": len(rows), wrap: made} if wrap else made, headers=headers)

    def _lasting(self) -> Any:
        """The address by the repository's number, as GitHub's Link headers have it."""
        url = self.request.url
        if "repo" not in self.path:
            return url
        before, _, after = url.path.partition("/repos/")
        rest = after.split("/", 2)[2:]
        return url.replace(path="/".join([f"{before}/repositories/{self.repo.place.id}", *rest]))


class _GitHub:
    def __init__(self, live: Live, access: Access) -> None:
        self.live, self.access = live, access

    def guarded(self, handler: _Handler) -> Callable[[Request], Awaitable[Response]]:
        """Token, limits, budget, ETag, rate-limit headers, errors."""

        @wraps(handler)
        async def checked(request: Request) -> Response:
            with self.access.counted():
                refused = self.access.refused(request)
                if refused is not None:
                    return refused
                await self.access.breathe()
                return self._answered(request, handler)

        return checked

    def _answered(self, request: Request, handler: _Handler) -> Response:
        budget = self.live.budget("github")
        try:
            found = handler(_Call(request, self.live.state()))
        except _RefusedError as error:
            found = error.response
        # GitHub's ETags differ by token.
        salt = request.headers.get("authorization", "").encode()
        etag = f'W/"{hashlib.sha256(salt + bytes(found.body)).hexdigest()}"'
        extra = self.access.headers(request)
        if found.status_code == 200 and etag in request.headers.get("if-none-match", ""):
            return Response(None, 304, {"ETag": etag, **extra, **limits(budget, "core")})
        if not request.url.path.endswith("/rate_limit") and not budget.take(1):
            text = "API rate limit exceeded for user ID 7000002."
            body = {"message": text, "documentation_url": f"{DOCS}/overview/rate-limits-for-the-rest-api"}
            return answer(body, 403, limits(budget, "core"))
        if found.status_code == 200:
            extra |= {"ETag": etag, "Cache-Control": "private, max-age=60, s-maxage=60"}
        found.headers.update({**extra, **limits(budget, "core"), "X-GitHub-Media-Type": "github.v3; format=json"})
        return found

    async def not_found(self, request: Request) -> Response:
        """Unknown paths."""
        return refusal(404, "Not Found")

    async def graphql(self, request: Request) -> Response:
        """GraphQL has a budget of points of its own."""
        with self.access.counted():
            refused = self.access.refused(request)
            if refused is not None:
                return refused
            await self.access.breathe()
            try:
                given = await request.json()
            except ValueError:
                return refusal(400, "Problems parsing JSON")
            if named := re.match(r"\s*query\s+(\w+)", str(given.get("query") or "")):
                name = f"github {named[1]}"
                self.live.requests[name] = self.live.requests.get(name, 0) + 1
            budget = self.live.budget("github_graphql")
            body = run(self.live.state(), given, budget)
            return answer(body, headers={**self.access.headers(request), **limits(budget, "graphql")})

    # Whose and what

    def root(self, call: _Call) -> Response:
        """Where things are."""
        return answer({"current_user_url": f"{call.base}/user", "rate_limit_url": f"{call.base}/rate_limit"})

    def user(self, call: _Call) -> Response:
        """Whose token it is."""
        return answer(shape.user(org.PLATFORM.lead))

    def rate_limit(self, call: _Call) -> Response:
        """The budgets."""
        core, graph = (limits(self.live.budget(name), name) for name in ("github", "github_graphql"))
        names = {"limit": "Limit", "remaining": "Remaining", "used": "Used", "reset": "Reset"}
        numbers = [{name: int(b[f"X-RateLimit-{key}"]) for name, key in names.items()} for b in (core, graph)]
        resources = {"core": numbers[0], "search": numbers[0], "graphql": numbers[1]}
        return answer({"resources": resources, "rate": numbers[0]})

    def repositories(self, call: _Call) -> Response:
        """Those of an organisation, by name."""
        owner = str(call.path["owner"]).lower()
        if owner not in OWNERS:
            raise _nothing()
        return call.page(call.state.hub.of_owner(owner), lambda repo: shape.repository(repo, call.base))

    def installed(self, call: _Call) -> Response:
        """Those that an installation sees."""
        repos = call.state.hub.of_owner(org.ORGANISATION)
        return call.page(repos, lambda repo: shape.repository(repo, call.base), "repositories")

    def repository(self, call: _Call) -> Response:
        """One repository."""
        return answer(shape.full_repository(call.repo, call.base))

    # Pull requests

    def pulls(self, call: _Call) -> Response:
        """Open ones, newest first, unless asked else."""
        query, repo = call.query, call.inside
        state, sort = query.get("state", "open"), query.get("sort", "created")
        direction = query.get("direction", "desc" if "sort" not in query or sort == "created" else "asc").upper()
        field = "UPDATED_AT" if sort == "updated" else "CREATED_AT"
        rows, _ = ordered(repo, "pulls", {"field": field, "direction": direction})
        rows = [p for p in rows if state == "all" or (p.state == "OPEN") == (state == "open")]
        if head := query.get("head"):
            rows = [p for p in rows if f"{repo.owner}:{p.opened.branch}" == head]
        if base := query.get("base"):
            rows = rows if base == "main" else []
        return call.page(rows, lambda pull: shape.pull_simple(pull, call.base))

    def pull(self, call: _Call) -> Response:
        """One, with its sizes."""
        return answer(shape.pull_full(call.pull, call.base))

    def reviews(self, call: _Call) -> Response:
        """Oldest first."""
        pull = call.pull
        return call.page(pull.reviews, lambda review: shape.review(review, pull, call.base))

    def commits(self, call: _Call) -> Response:
        """Oldest first; 250 at most."""
        pull = call.pull
        return call.page(pull.commits[:MAX_COMMITS], lambda commit: shape.commit(commit, pull.repo, call.base))

    def review_comments(self, call: _Call) -> Response:
        """On lines, oldest first."""
        pull = call.pull
        return self._line_comments(call, [pull])

    def all_review_comments(self, call: _Call) -> Response:
        """On lines of the whole repository."""
        return self._line_comments(call, list(call.inside.pulls.values()))

    def _line_comments(self, call: _Call, pulls: list[st.PullRequest]) -> Response:
        rows = [(c, t, p) for p in pulls for t in p.threads.values() for c in t.comments if self._recent(call, c.at)]
        rows.sort(key=lambda row: row[0].id, reverse=call.query.get("direction") == "desc")
        return call.page(rows, lambda row: shape.review_comment(row[0], row[1], row[2], call.base))

    def files(self, call: _Call) -> Response:
        """What was changed."""
        pull = call.pull
        return call.page(range(pull.files), lambda number: shape.file(number, pull, call.base))

    # Issues

    def issues(self, call: _Call) -> Response:
        """Open ones, pull requests too, newest first, unless asked else."""
        query, repo = call.query, call.inside
        if not repo.place.issues:
            raise _RefusedError(refusal(410, "Issues has been disabled in this repository."))
        state, labels = query.get("state", "open"), set(filter(None, query.get("labels", "").split(",")))
        rows: list[Any] = [
            it
            for it in (*repo.issues.values(), *repo.pulls.values())
            if (state == "all" or (it.closed_at is None) == (state == "open"))
            and labels <= set(it.labels)
            and self._recent(call, it.updated_at)
        ]
        updated = query.get("sort") == "updated"
        rows = call.sorted(rows, lambda it: (it.updated_at if updated else it.created_at, it.number))
        return call.page(rows, lambda it: issue_shape.issue(it, call.base))

    def issue(self, call: _Call) -> Response:
        """One of them."""
        return answer(issue_shape.issue(call.issue, call.base))

    def comments(self, call: _Call) -> Response:
        """Oldest first."""
        it = call.issue
        rows = [c for c in it.comments if self._recent(call, c.at)]
        return call.page(rows, lambda comment: issue_shape.comment(comment, it, call.base))

    def all_comments(self, call: _Call) -> Response:
        """Of the whole repository."""
        repo = call.inside
        subjects = (*repo.issues.values(), *repo.pulls.values())
        rows = [(c, it) for it in subjects for c in it.comments if self._recent(call, c.at)]
        rows.sort(key=lambda row: row[0].id, reverse=call.query.get("direction") == "desc")
        return call.page(rows, lambda row: issue_shape.comment(row[0], row[1], call.base))

    def timeline(self, call: _Call) -> Response:
        """Everything that happened, oldest first."""
        return call.page(issue_shape.timeline(call.issue, call.base), lambda row: row)

    def _recent(self, call: _Call, at: Any) -> bool:
        since = moment(call.query.get("since", ""))
        return since is None or at >= since

    # Checks and runs

    def check_runs(self, call: _Call) -> Response:
        """The last of each name, or all."""
        everything, name, status = (
            call.query.get("filter") == "all",
            call.query.get("check_name"),
            call.query.get("status"),
        )
        rows = [
            c
            for suite in call.suites
            for c in (suite.checks if everything else suite.latest())
            if name in (None, c.name) and status in (None, "completed" if c.conclusion else "in_progress")
        ]
        return call.page(rows, lambda check: run_shape.check_run(check, call.base), "check_runs")

    def check_suites(self, call: _Call) -> Response:
        """Oldest first."""
        name = call.query.get("check_name")
        rows = [s for s in call.suites if name is None or any(c.name == name for c in s.checks)]
        return call.page(rows, lambda suite: run_shape.check_suite(suite, call.base), "check_suites")

    def runs(self, call: _Call) -> Response:
        """Newest first; a filtered listing ends after 1,000."""
        query = call.query
        rows = list(reversed(call.inside.runs.values()))
        filters: dict[str, Callable[[st.WorkflowRun], object]] = {
            "branch": lambda r: r.started.branch,
            "event": lambda r: r.event,
            "head_sha": lambda r: r.started.sha,
            "actor": lambda r: shape.rest_login(ACCOUNTS[r.started.actor]),
            "check_suite_id": lambda r: str(r.suite.id) if r.suite else None,
        }
        used = {name for name in (*filters, "status", "created") if name in query}
        for name in used & set(filters):
            rows = [r for r in rows if filters[name](r) == query[name]]
        if "status" in used:
            rows = [r for r in rows if query["status"] in (run_shape.run_status(r), r.conclusion)]
        if "created" in used:
            rows = [r for r in rows if _in_range(r.created_at, query["created"])]
        return call.page(rows[:FILTERED_RUNS] if used else rows, lambda r: run_shape.run(r, call.base), "workflow_runs")

    def _run(self, call: _Call) -> st.WorkflowRun:
        found = call.inside.runs.get(call.path["id"])
        if found is None:
            raise _nothing()
        return found

    def run(self, call: _Call) -> Response:
        """One run."""
        return answer(run_shape.run(self._run(call), call.base))

    def jobs(self, call: _Call) -> Response:
        """Of the newest attempt, or of all."""
        found = self._run(call)
        rows = found.jobs
        if call.query.get("filter", "latest") == "latest":
            rows = [job for job in rows if job.attempt == found.started.attempt]
        return call.page(rows, lambda job: run_shape.job(job, call.base), "jobs")

    # Deployments, releases, tags

    def deployments(self, call: _Call) -> Response:
        """Newest first."""
        query, repo = call.query, call.inside
        rows = [
            d
            for d in reversed(repo.deployments.values())
            if query.get("environment", d.created.environment) == d.created.environment
            and query.get("sha", d.created.sha) == d.created.sha
        ]
        return call.page(rows, lambda d: run_shape.deployment(d, call.base))

    def _deployment(self, call: _Call) -> st.Deployment:
        found = call.inside.deployments.get(call.path["id"])
        if found is None:
            raise _nothing()
        return found

    def deployment(self, call: _Call) -> Response:
        """One deployment."""
        return answer(run_shape.deployment(self._deployment(call), call.base))

    def deployment_statuses(self, call: _Call) -> Response:
        """Newest first."""
        found = self._deployment(call)
        rows = found.statuses[::-1]
        return call.page(rows, lambda row: run_shape.deployment_status(row[0], row[1], found, call.base))

    def releases(self, call: _Call) -> Response:
        """Newest first."""
        rows = sorted(call.inside.releases.values(), key=lambda r: -r.id)
        return call.page(rows, lambda release: run_shape.release(release, call.base))

    def tags(self, call: _Call) -> Response:
        """By name, the last first."""
        rows = sorted(call.inside.tags.values(), key=lambda t: t.created.name, reverse=True)
        return call.page(rows, lambda tag: run_shape.tag(tag, call.base))


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
