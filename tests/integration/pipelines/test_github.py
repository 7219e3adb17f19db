"""The GitHub source against a server that moves things while they are read, refuses, limits, and answers in parts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from forge_pipelines.answers import Patience
from forge_pipelines.http import Api
from forge_pipelines.problems import LoadError, RateLimited
from forge_pipelines.sources import Page, Scope, github
from forge_pipelines.tables import COMMON, Table
from forge_stack.model import GitHubSource

FAST = Patience(first_wait=0.01, unasked_limit_wait=0.05, total_wait=5.0)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
OLD = NOW - timedelta(days=40)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
RATE = {"cost": 1, "remaining": 4000, "resetAt": "2026-03-01T13:00:00Z"}
END = {"hasNextPage": False, "endCursor": None}


def reply(body: Any = None, **values: Any) -> Any:
    """An answer of the script; the fields are those of conftest's Reply."""
    return SimpleNamespace(**{"body": body, "status": 200, "headers": {}, "cut": False, "drop": False, **values})


def error(kind: str, *path: Any, **more: Any) -> dict[str, Any]:
    return {"type": kind, "path": list(path), "message": f"{kind} of {path[-1]}", **more}


def pull_request(number: int, updated: datetime, **values: Any) -> dict[str, Any]:
    return {
        "id": f"PR_{number}", "fullDatabaseId": str(number), "number": number, "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": updated.isoformat(), "closedAt": None, "mergedAt": None, "title": f"#{number}", "body": None,
        "state": "MERGED", "isDraft": False, "url": "u", "author": None, "mergedBy": None, "headRefName": "h",
        "baseRefName": "main", "headRefOid": f"sha{number}", "mergeCommit": None, "additions": 1, "deletions": 2,
        "changedFiles": 3, "reviewDecision": None, "totalCommentsCount": 0, "statusCheckRollup": None,
        "commits": {"totalCount": 0, "nodes": [], "pageInfo": END}, **values,
    }  # fmt: skip


class Repo:
    """A repository of the hub: pull requests by number, runs by number, deployments by number, tags by name."""

    def __init__(self, number: int, name: str, pulls: dict[int, datetime] | None = None) -> None:
        self.number, self.id, self.name = number, f"R_{number}", name
        self.pulls: dict[int, dict[str, Any]] = {n: pull_request(n, at) for n, at in (pulls or {}).items()}
        self.runs: dict[int, dict[str, Any]] = {}
        self.jobs: dict[int, list[dict[str, Any]]] = {}
        self.deployments: dict[int, dict[str, Any]] = {}
        self.tags: dict[str, str] = {}
        self.denied: set[str] = set()

    def update(self, number: int, at: datetime, **values: Any) -> None:
        self.pulls[number] = pull_request(number, at, **values)

    def run(self, number: int, at: datetime, **values: Any) -> None:
        time = at.isoformat()
        self.runs[number] = {
            "id": number, "created_at": time, "updated_at": time, "workflow_id": 1, "event": "push", "name": None,
            "run_number": number, "run_attempt": 1, "head_sha": f"sha{number}", "head_branch": None, "url": "u",
            "status": "completed", "conclusion": "success", "actor": None, "pull_requests": [], **values,
        }  # fmt: skip
        attempts = range(1, self.runs[number]["run_attempt"] + 1)
        self.jobs[number] = [
            {"id": number * 10 + n, "run_id": number, "run_attempt": n, "name": "j", "status":
             self.runs[number]["status"], "conclusion": None, "started_at": time, "completed_at": None, "labels": []}
            for n in attempts
        ]  # fmt: skip

    def deploy(self, number: int, at: datetime, *states: str) -> None:
        statuses = [{"id": f"S{n}", "state": s, "createdAt": (at + n * DAY).isoformat()} for n, s in enumerate(states)]
        last = statuses[-1]["createdAt"] if statuses else None
        self.deployments[number] = {
            "id": f"DE_{number}", "databaseId": number, "createdAt": at.isoformat(), "updatedAt": last,
            "commitOid": "a", "environment": "prod", "state": states[-1] if states else "PENDING",
            "statuses": {"nodes": statuses[::-1], "pageInfo": END}, "latestStatus": statuses[-1] if statuses else None,
        }  # fmt: skip

    def listed(self, field: str) -> list[tuple[datetime, str, dict[str, Any]]]:
        """(moment, key, element), newest first."""
        found: list[tuple[str, str, dict[str, Any]]] = []
        if field == "pullRequests":
            found = [(p["updatedAt"], f"{n:09}", p) for n, p in self.pulls.items()]
        if field == "deployments":
            found = [(d["createdAt"], f"{n:09}", d) for n, d in self.deployments.items()]
        if field == "refs":
            tags = [{"name": n, "target": {"__typename": "Commit", "oid": oid}} for n, oid in self.tags.items()]
            found = [(NOW.isoformat(), tag["name"], tag) for tag in tags]
        return sorted(((datetime.fromisoformat(at), key, e) for at, key, e in found), key=lambda f: f[:2], reverse=True)

    def probe(self, query: str) -> dict[str, Any]:
        node: dict[str, Any] = {
            "id": self.id, "databaseId": self.number, "nameWithOwner": self.name, "isPrivate": True,
            "createdAt": OLD.isoformat(), "pushedAt": None, "defaultBranchRef": None, "repositoryTopics": None,
        }  # fmt: skip
        for alias, field in {"pulls": "pullRequests", "issues": "issues", "deployments": "deployments",
                             "releases": "releases", "tags": "refs"}.items():  # fmt: skip
            if re.search(rf"\b{alias}(: {field})?\(first: 1|\b{alias}: refs", query):
                elements = self.listed(field)
                node[alias] = {"totalCount": len(elements), "nodes": [element for *_, element in elements[:1]]}
        return node


class Hub:
    """Repositories, paged by keys as GitHub's cursors are."""

    def __init__(self, *repos: Repo) -> None:
        self.repos = list(repos)
        self.before_page: Callable[[int], None] = lambda number: None
        self.pages = 0
        self.sizes: list[int] = []
        self.too_heavy = 10_000

    def __call__(self, call: Any) -> Any:
        assert call.headers["authorization"].startswith("Bearer ")
        if call.path != "/graphql":
            return self.rest(call)
        query, variables = call.body["query"], call.body["variables"]
        return getattr(self, query.split("(")[0].removeprefix("query ").lower(), self.listing)(query, variables)

    def answer(self, data: dict[str, Any], errors: list[dict[str, Any]] | None = None) -> Any:
        return reply({"data": {"rateLimit": RATE, **data}, **({"errors": errors} if errors else {})})

    def repositories(self, query: str, variables: dict[str, Any]) -> Any:
        data, errors = {}, []
        for alias, text in re.findall(r"(r\d+): repository\(([^{]*)\{(?:(?!r\d+: repository).)*", query, re.DOTALL):
            own = re.search(rf"{alias}: repository.*?(?=r\d+: repository|$)", query, re.DOTALL)
            name = f"{variables['o' + alias[1:]]}/{variables['n' + alias[1:]]}"
            repo = next((r for r in self.repos if name in (r.name, getattr(r, "former", None))), None)
            assert own and text
            node = repo.probe(own[0]) if repo else None
            refused = sorted(repo.denied & set(node)) if repo and node else []
            data[alias] = None if refused else node
            if repo is None:
                errors.append(error("NOT_FOUND", alias))
            elif refused:
                errors.append(error("FORBIDDEN", alias, refused[0]))
        return self.answer(data, errors)

    def organization(self, query: str, variables: dict[str, Any]) -> Any:
        if variables["login"] == "walled":
            saml = error("FORBIDDEN", "organization", extensions={"saml_failure": True})
            return self.answer({"organization": None}, [saml])
        start = int(variables["after"] or 0)
        part = self.repos[start : start + 2]
        more = {"hasNextPage": start + 2 < len(self.repos), "endCursor": str(start + 2)}
        nodes: list[Any] = [repo.probe(query) for repo in part]
        errors = []
        for index, repo in enumerate(part):
            if refused := sorted(repo.denied & set(nodes[index])):
                nodes[index] = None
                errors.append(error("FORBIDDEN", "organization", "repositories", "nodes", index, refused[0]))
        return self.answer({"organization": {"repositories": {"nodes": nodes, "pageInfo": more}}}, errors)

    def listing(self, query: str, variables: dict[str, Any]) -> Any:
        repo = next((r for r in self.repos if r.id == variables["id"]), None)
        if repo is None:
            return self.answer({"node": None}, [error("NOT_FOUND", "node")])
        found = re.search(r"on Repository \{ (\w+)", query)
        assert found
        if found[1] == "pullRequests":
            self.sizes.append(variables["first"])
            if variables["first"] > self.too_heavy:
                return reply(b"<html>timeout</html>", status=502)
            self.pages += 1
            self.before_page(self.pages)
        ordered = repo.listed(found[1])
        if variables["after"]:
            at, key = variables["after"].split("|")
            ordered = [o for o in ordered if o[:2] < (datetime.fromisoformat(at), key)]
        page = ordered[: variables["first"]]
        cursor = f"{page[-1][0].isoformat()}|{page[-1][1]}" if page else None
        info = {"hasNextPage": len(page) < len(ordered), "endCursor": cursor}
        return self.answer({"node": {found[1]: {"nodes": [e for *_, e in page], "pageInfo": info}}})

    def nodes(self, query: str, variables: dict[str, Any]) -> Any:
        known = {e["id"]: e for repo in self.repos for e in (*repo.pulls.values(), *repo.deployments.values())}
        known |= {r.id: {"id": r.id, "databaseId": r.number, "nameWithOwner": r.name} for r in self.repos}
        nodes = [known.get(id_) for id_ in variables["ids"]]
        errors = [error("NOT_FOUND", "nodes", n) for n, node in enumerate(nodes) if node is None]
        return self.answer({"nodes": nodes}, errors)

    def rest(self, call: Any) -> Any:
        found = re.fullmatch(r"/repos/(\w+/\w+)/actions/runs(?:/(\d+))?(/jobs)?", call.path)
        assert found
        repo = next(r for r in self.repos if r.name == found[1])
        if found[3]:
            return reply({"total_count": 1, "jobs": repo.jobs.get(int(found[2]), [])})
        if found[2]:
            run = repo.runs.get(int(found[2]))
            return reply(run) if run else reply({"message": "Not Found"}, status=404)
        low, _, high = call.params["created"].removeprefix(">=").partition("..")
        runs = [
            run for run in sorted(repo.runs.values(), key=lambda r: r["created_at"], reverse=True)
            if low <= run["created_at"].replace("+00:00", "Z") <= (high or "9")
        ]  # fmt: skip
        page, size = int(call.params.get("page", 1)), int(call.params["per_page"])
        part = runs[:1000][(page - 1) * size : page * size]
        headers = {"ETag": f'W/"{hash(str(runs))}"'}
        if call.headers.get("if-none-match") == headers["ETag"]:
            return reply(b"", status=304)
        if page * size < min(len(runs), 1000):
            address = f"http://{call.headers['host']}{call.path}?created={call.params['created']}"
            headers["Link"] = f'<{address}&per_page={size}&page={page + 1}>; rel="next"'
        return reply({"total_count": len(runs), "workflow_runs": part}, headers=headers)


class Bronze:
    """What loads stored: the last row of each key, and as much SQL as the source asks in."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {}

    def take(self, pages: list[Page]) -> None:
        known = {table.name: table for table in (*github.TABLES, *COMMON)}
        for page in pages:
            for name, rows in page.rows.items():
                for row in rows.to_pylist():
                    key = tuple(row[column] for column in known[name].key)
                    before = self.tables.setdefault(name, {}).get(key)
                    version = known[name].version
                    if before is None or row[version] >= before[version]:
                        self.tables[name][key] = row

    def __call__(self, table: Table, columns: Any, where: str = "") -> pa.Table:
        import chdb

        rows = list(self.tables.get(table.name, {}).values())
        bronze = table.schema.empty_table() if not rows else pa.Table.from_pylist(rows, schema=table.schema)
        query = f"select {', '.join(columns)} from Python(bronze) where {where or 1}"
        found = chdb.query(query, "ArrowTable") if rows else bronze.select(list(columns))
        return found.cast(pa.schema([table.schema.field(name) for name in columns]))


def source(url: str, *repositories: str, **values: Any) -> GitHubSource:
    selected = {"credentialsSecretRef": {"name": "s"}, "repositories": repositories, **values}
    return GitHubSource.model_validate({"url": url, **selected})


def load(spec: GitHubSource, state: Mapping[str, Any], bronze: Bronze | None = None, **values: Any) -> list[Page]:
    api = Api(spec.url, {"Authorization": "Bearer t0p-s3cret"}, patience=FAST)
    given = {"stored": bronze} if bronze else {}
    found = list(github.pages(spec, api, Scope(dict(state), **{"now": NOW, **given, **values})))
    if bronze is not None:
        bronze.take(found)
    return found


def rows(pages: list[Page], table: str) -> list[dict[str, Any]]:
    return [row for page in pages if table in page.rows for row in page.rows[table].to_pylist()]


def state_of(pages: list[Page]) -> dict[str, Any]:
    return next(page.state for page in reversed(pages) if page.state is not None)


def numbers(pages: list[Page]) -> set[int]:
    return {row["number"] for row in rows(pages, "pull_requests")}


def test_first_then_nothing_new_then_one(scripted: Any) -> None:
    x = Repo(1, "a/x", {n: NOW - DAY - n * MINUTE for n in range(60)})
    y, empty = Repo(2, "a/y", {1: NOW - DAY}), Repo(3, "a/empty")
    scripted.script = Hub(x, y, empty)
    spec = source(scripted.url, "a/x", "a/y", "a/empty")
    first = load(spec, {})
    assert {(r["repository"], r["number"]) for r in rows(first, "pull_requests")} == {
        *(("a/x", n) for n in range(60)), ("a/y", 1),
    }  # fmt: skip
    scripted.calls.clear()
    second = load(spec, state_of(first))
    assert not any(page.rows for page in second if any(t.num_rows for t in page.rows.values()))
    assert [c.path for c in scripted.calls].count("/graphql") == 1, "one query tells that nothing is new"
    assert len(scripted.calls) == 4, "beside it, an unchanged listing of runs a repository"
    y.update(2, NOW)
    third = load(spec, state_of(second))
    assert numbers(third) == {1, 2}, "1 is in the overlap"
    # What is newest is fresh: the next load reads its overlap again, in case something came late beside it.
    y.update(3, NOW - 2 * MINUTE)
    assert numbers(load(spec, state_of(third))) == {2, 3}


def test_updates_while_walking_are_not_lost(scripted: Any) -> None:
    x = Repo(1, "a/x", {n: OLD + n * timedelta(hours=1) for n in range(150)})
    hub = Hub(x)

    def touch(page: int) -> None:
        x.update(page * 3, NOW - timedelta(minutes=30 - page))

    scripted.script, hub.before_page = hub, touch
    spec = source(scripted.url, "a/x")
    first = load(spec, {})
    hub.before_page = lambda page: None
    bronze = Bronze()
    bronze.take([*first, *load(spec, state_of(first))])
    stored = {row["number"]: row["updated_at"] for row in bronze.tables["pull_requests"].values()}
    assert stored == {n: datetime.fromisoformat(p["updatedAt"]) for n, p in x.pulls.items()}


def test_a_cut_walk_goes_on_from_its_page_and_a_new_repository_disturbs_none(scripted: Any) -> None:
    x = Repo(1, "a/x", {n: OLD + n * timedelta(hours=1) for n in range(150)})
    hub = Hub(x, Repo(2, "a/y", {1: NOW - DAY}))
    scripted.script = hub
    api = Api(scripted.url, {"Authorization": "Bearer t"}, patience=FAST)
    pages = github.pages(source(scripted.url, "a/x"), api, Scope({}, NOW))
    begun = [next(pages) for _ in range(3)]
    x.update(0, NOW - MINUTE)
    rest = load(source(scripted.url, "a/x", "a/y"), state_of(begun))
    found = {r["number"]: r["updated_at"] for r in rows([*begun, *rest], "pull_requests") if r["repository_id"] == 1}
    assert found == {n: datetime.fromisoformat(p["updatedAt"]) for n, p in x.pulls.items()}
    assert len(rows(rest, "pull_requests")) <= 53, "what was read before the cut is not read again"


def test_heavy_pages_are_halved_and_grow_again(scripted: Any) -> None:
    hub = Hub(Repo(1, "a/x", {n: NOW - DAY - n * MINUTE for n in range(60)}))
    hub.too_heavy = 16
    scripted.script = hub
    assert len(numbers(load(source(scripted.url, "a/x"), {}))) == 60
    assert hub.sizes[:6] == [50, 50, 25, 25, 12, 13] and max(hub.sizes[4:]) > 13


def test_a_missing_repository_costs_a_warning_and_all_missing_an_error(scripted: Any) -> None:
    scripted.script = Hub(Repo(1, "a/x", {1: NOW}))
    warnings: list[str] = []
    assert numbers(load(source(scripted.url, "a/gone", "a/x"), {}, warn=warnings.append)) == {1}
    assert len(warnings) == 1 and "a/gone" in warnings[0]
    with pytest.raises(LoadError, match="a/gone") as found:
        load(source(scripted.url, "a/gone"), {})
    assert found.value.reason == "NotFound"


@pytest.mark.parametrize("selection", [{"repositories": ["a/x", "a/shut", "a/z"]}, {"organizations": ["a"]}])
def test_what_may_not_be_read_does_not_take_the_rest(scripted: Any, selection: dict[str, Any]) -> None:
    shut = Repo(2, "a/shut", {1: NOW - DAY})
    shut.denied = {"deployments", "releases"}
    shut.tags = {"v1": "aaa"}
    scripted.script = Hub(Repo(1, "a/x", {1: NOW}), shut, Repo(3, "a/z", {5: NOW}))
    warnings: list[str] = []
    found = load(source(scripted.url, **selection), {}, warn=warnings.append)
    assert {(r["repository_id"], r["number"]) for r in rows(found, "pull_requests")} == {(1, 1), (2, 1), (3, 5)}
    assert [r["sha"] for r in rows(found, "tags")] == ["aaa"]
    assert warnings == [
        "a/shut: its deployments, releases may not be read (FORBIDDEN of deployments; FORBIDDEN of releases); give the "
        "token that right, or select less"
    ]


def test_single_sign_on_is_told(scripted: Any) -> None:
    scripted.script = Hub()
    with pytest.raises(LoadError, match=r"'walled'.*SAML single sign-on.*Configure SSO") as found:
        load(source(scripted.url, organizations=["walled"]), {})
    assert found.value.reason == "Forbidden"


def test_limits_inside_a_200_are_waited_for_or_stop_the_load(scripted: Any) -> None:
    hub, limited = Hub(Repo(1, "a/x", {1: NOW})), [1]

    def script(call: Any) -> Any:
        if limited:
            limited.pop()
            return reply({"errors": [{"type": "RATE_LIMITED", "message": "limit"}]}, headers={"Retry-After": "0"})
        return hub(call)

    scripted.script = script
    assert numbers(load(source(scripted.url, "a/x"), {})) == {1}
    scripted.replies(reply({"errors": [{"type": "RATE_LIMITED"}]}, headers={"Retry-After": "4000"}))
    with pytest.raises(RateLimited):
        load(source(scripted.url, "a/x"), {})


def test_a_new_name_is_followed_and_all_rows_bear_it(scripted: Any) -> None:
    x, bronze = Repo(1, "a/x", {1: NOW - DAY, 2: NOW - 2 * DAY}), Bronze()
    scripted.script = Hub(x)
    spec = source(scripted.url, "a/x")
    first = load(spec, {}, bronze)
    x.name, x.former = "b/new", "a/x"  # type: ignore[attr-defined]
    load(spec, state_of(first), bronze)
    names = {(key, row["repository"]) for key, row in bronze.tables["pull_requests"].items()}
    assert names == {((1, 1), "b/new"), ((1, 2), "b/new")}
    assert [row["repository"] for row in bronze.tables["repositories"].values()] == ["b/new"]


def test_what_moves_without_moving_up_is_met(scripted: Any) -> None:
    x, bronze = Repo(1, "a/x"), Bronze()
    x.update(1, NOW - DAY, state="OPEN", statusCheckRollup={"state": "PENDING"})
    x.update(2, NOW - DAY, state="OPEN")
    x.deploy(7, NOW - 2 * DAY, "IN_PROGRESS")
    scripted.script = Hub(x)
    spec = source(scripted.url, "a/x")
    state = state_of(load(spec, {}, bronze))
    quiet = load(spec, state, bronze)
    assert not rows(quiet, "pull_requests") and not rows(quiet, "deployments")
    x.update(1, NOW - DAY, state="OPEN", statusCheckRollup={"state": "FAILURE"})
    x.deploy(7, NOW - 2 * DAY, "IN_PROGRESS", "SUCCESS")
    moved = load(spec, state_of(quiet), bronze)
    assert [(r["number"], r["checks_state"]) for r in rows(moved, "pull_requests")] == [(1, "FAILURE")]
    assert [r["state"] for r in rows(moved, "deployments")] == ["SUCCESS"]


def test_a_sweep_finds_what_is_gone_moved_or_back(scripted: Any) -> None:
    x, y, bronze = Repo(1, "a/x", {n: NOW - DAY - n * MINUTE for n in range(5)}), Repo(2, "a/y"), Bronze()
    x.tags = {"v1": "a", "v2": "b"}
    x.deploy(7, NOW - 2 * DAY, "SUCCESS")
    hub = Hub(x, y)
    scripted.script = hub
    spec = source(scripted.url, "a/x", "a/y")
    state = state_of(load(spec, {}, bronze))
    gone = {number: x.pulls.pop(number) for number in (2, 3)}
    x.pulls[2] = gone[2] | {"repository": {"databaseId": 2}}
    moved = x.pulls.pop(2)
    y.pulls[2] = moved
    del x.tags["v1"], x.deployments[7]
    week = load(spec, state, bronze, now=NOW + 8 * DAY)
    found = {(r["entity"], r["entity_key"]): r["reason"] for r in rows(week, "deletions")}
    assert found == {
        ("pull_requests", "[1,2]"): "moved", ("pull_requests", "[1,3]"): "deleted",
        ("deployments", "[1,7]"): "deleted", ("tags", '[1,"v1"]'): "deleted",
    }  # fmt: skip
    x.pulls[3] = gone[3]
    again = load(source(scripted.url, "a/x"), state_of(week), bronze, now=NOW + 16 * DAY)
    assert {(r["entity"], r["entity_key"]): r["reason"] for r in rows(again, "deletions")} == {
        ("pull_requests", "[1,3]"): "returned", ("repositories", "[2]"): "moved",
    }  # fmt: skip
    x.update(4, NOW - DAY, title="edited unseen")
    assert not rows(load(spec, state_of(again), bronze, now=NOW + 17 * DAY), "deletions")


def test_more_runs_than_a_listing_gives_are_read_in_shorter_windows(scripted: Any) -> None:
    x, bronze = Repo(1, "a/x"), Bronze()
    for number in range(2300):
        x.run(number + 1, OLD + number * timedelta(minutes=20))
    scripted.script = Hub(x)
    spec = source(scripted.url, "a/x", jobs=False)
    found = load(spec, {}, bronze)
    assert {r["run_id"] for r in rows(found, "workflow_runs")} == set(range(1, 2301))
    assert len(scripted.calls) < 40 and not rows(found, "workflow_jobs")


def test_runs_that_go_on_or_run_again_are_met_and_so_are_their_jobs(scripted: Any) -> None:
    x, bronze = Repo(1, "a/x"), Bronze()
    x.run(1, NOW - 20 * DAY)
    x.run(2, NOW - 3 * DAY, status="in_progress")
    x.run(3, NOW - timedelta(hours=1))
    scripted.script = Hub(x)
    spec = source(scripted.url, "a/x")
    state = state_of(load(spec, {}, bronze))
    assert {row["job_id"] for row in bronze.tables["workflow_jobs"].values()} == {10 + 1, 20 + 1, 30 + 1}
    scripted.calls.clear()
    quiet = load(spec, state, bronze)
    paths = [call.path.rpartition("runs")[2] for call in scripted.calls if "runs" in call.path]
    assert paths == ["", "/2", "/2/jobs"], "only what is not at its end is asked for again"
    x.run(2, NOW - 3 * DAY, updated_at=NOW.isoformat())
    x.run(1, NOW - 20 * DAY, updated_at=NOW.isoformat(), run_attempt=2)
    done = load(spec, state_of(quiet), bronze)
    assert bronze.tables["workflow_runs"][1, 2]["status"] == "completed"
    later = load(spec, state_of(done), bronze, now=NOW + DAY)
    assert bronze.tables["workflow_runs"][1, 1]["run_attempt"] == 2
    assert {(r["job_id"], r["run_attempt"]) for r in rows(later, "workflow_jobs")} == {(11, 1), (12, 2)}
    del x.runs[3]
    gone = load(spec, state_of(later), bronze, now=NOW + 2 * DAY)
    assert [(r["entity"], r["entity_key"]) for r in rows(gone, "deletions")] == [("workflow_runs", "[1,3]")]


def test_a_load_that_is_cut_between_runs_and_jobs_reads_the_jobs_later(scripted: Any) -> None:
    x, bronze = Repo(1, "a/x"), Bronze()
    for number in range(1, 121):
        x.run(number, NOW - DAY + number * MINUTE)
    scripted.script = Hub(x)
    spec = source(scripted.url, "a/x")
    api = Api(spec.url, {"Authorization": "Bearer t"}, patience=FAST)
    pages = github.pages(spec, api, Scope({}, NOW, stored=bronze))
    begun: list[Page] = []
    while not rows(begun, "workflow_jobs"):
        begun.append(next(pages))
    bronze.take(begun)
    rest = load(spec, state_of(begun), bronze)
    assert {row["run_id"] for row in bronze.tables["workflow_jobs"].values()} == set(range(1, 121))
    assert len(rows(rest, "workflow_jobs")) == 70


def test_a_window_is_read_exactly(scripted: Any) -> None:
    x = Repo(1, "a/x", {n: NOW - n * DAY for n in range(1, 250)})
    for number in range(1, 30):
        x.run(number, NOW - number * DAY)
    hub = Hub(x)
    scripted.script = hub
    window = (NOW - 220 * DAY, NOW - 217 * DAY)
    found = load(source(scripted.url, "a/x"), {}, window=window)
    assert numbers(found) == {218, 219, 220} and all(page.state is None for page in found)
    assert len(hub.sizes) <= 5, "light pages lead to the window"
    runs = load(source(scripted.url, "a/x"), {}, window=(NOW - 5 * DAY, NOW - 3 * DAY))
    assert {r["run_id"] for r in rows(runs, "workflow_runs")} == {4, 5} == {
        r["run_id"] for r in rows(runs, "workflow_jobs")
    }  # fmt: skip


def test_pages_of_rest_are_followed_by_their_links(scripted: Any) -> None:
    x = Repo(1, "a/x")
    for number in range(250):
        x.run(number, NOW - DAY + number * MINUTE)
    scripted.script = Hub(x)
    found = load(source(scripted.url, "a/x", jobs=False), {})
    assert len({r["run_id"] for r in rows(found, "workflow_runs")}) == 250
    listed = [call.params.get("page") for call in scripted.calls if call.path.endswith("/runs")]
    assert listed == [None, "2", "3"]
