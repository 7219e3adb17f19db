"""GitHub's GraphQL from the top: organisation, repositories, and how everything is found by name or id."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from forge_demo import github_things as st
from forge_demo import organisation as org
from forge_demo.apis.common import iso_seconds, moment
from forge_demo.apis.github_commits import Commit, Ref, Release, TagRef, latest_release
from forge_demo.apis.github_objects import (
    WEB,
    Account,
    Connection,
    ForbiddenError,
    NotFoundError,
    number_of,
    paging,
)
from forge_demo.apis.github_pulls import Issue, PullRequest, Review, Thread
from forge_demo.apis.github_runs import CheckRun, CheckSuite, Deployment, WorkflowRun
from forge_demo.github_places import CREATED_AT, MILESTONES, NEW_OWNER, node_id
from forge_demo.state import State

OWNERS = {org.ORGANISATION: 7_000_001, NEW_OWNER: 7_000_009}
_SUBJECT_KEYS: dict[str, Callable[[st.Subject], Any]] = {
    "UPDATED_AT": lambda it: it.updated_at,
    "CREATED_AT": lambda it: it.created_at,
    "COMMENTS": lambda it: len(it.comments),
}


class Organization(Account):
    """An organisation."""

    def __init__(self, login: str, graph: Graph) -> None:
        super().__init__(login, "Acme Robotics", "", OWNERS[login], "Organization")
        self.graph = graph

    def repositories(self, info: Any, **given: Any) -> Connection:
        """All of them, by name unless ordered."""
        repos = [self.graph.repository(repo) for repo in self.graph.hub.of_owner(self.login)]
        privacy, archived, fork = given.get("privacy"), given.get("is_archived"), given.get("is_fork")
        repos = [
            r
            for r in repos
            if privacy in (None, r.visibility) and archived in (None, r.is_archived) and fork in (None, False)
        ]
        order = given.get("order_by") or {"field": "NAME", "direction": "ASC"}
        if order["field"] != "NAME":
            name = {"PUSHED_AT": "pushed_at", "UPDATED_AT": "updated_at"}.get(order["field"], "created_at")
            repos.sort(key=lambda r: (getattr(r, name) or "", r.name))
        if order["direction"] == "DESC":
            repos.reverse()
        return Connection(repos, lambda r: r, **paging(given))

    def repository(self, info: Any, name: str, **_: Any) -> Repository:
        """One of them."""
        return self.graph.find(self.login, name)


class Repository:
    """A repository. What a token may not see raises ForbiddenError field by field: its bare existence it may."""

    typename = "Repository"
    is_disabled = is_fork = is_locked = is_mirror = is_template = has_wiki_enabled = False
    is_in_organization, disk_usage, fork_count, stargazer_count, created_at = True, 4096, 0, 3, CREATED_AT

    def __init__(self, repo: st.Repo, graph: Graph) -> None:
        self.repo, self.graph, self.name, self.name_with_owner = repo, graph, repo.name, repo.full_name
        self.database_id, self.id = repo.place.id, repo.node_id
        self.resource_path = f"/{repo.full_name}"
        self.url = WEB + self.resource_path
        self.description = f"The {repo.place.key} service"
        self.is_archived, self.is_empty, self.is_private = repo.archived, not repo.landed, repo.place.private
        self.archived_at = CREATED_AT if repo.archived else None
        self.visibility = "PRIVATE" if repo.place.private else "PUBLIC"
        self.has_issues_enabled = repo.place.issues
        self.pushed_at = iso_seconds(repo.pushed_at) or (None if self.is_empty else CREATED_AT)
        self.updated_at = iso_seconds(repo.updated_at) or CREATED_AT

    @property
    def owner(self) -> Organization:
        """Whose it is."""
        return Organization(self.repo.owner, self.graph)

    @property
    def _open(self) -> st.Repo:
        """The repository, for what the token must be allowed to read. Raises ForbiddenError."""
        if self.repo.place.forbidden:
            raise ForbiddenError
        return self.repo

    @property
    def default_branch_ref(self) -> Ref | None:
        """main; None while it is empty."""
        return Ref("main", self.repo.head, self) if self.repo.landed else None

    def repository_topics(self, info: Any, **given: Any) -> Connection:
        """As they were given."""
        return Connection(self.repo.place.topics, self._topic, **paging(given))

    def _topic(self, name: str) -> dict[str, Any]:
        topic = {"id": node_id("TO", name), "name": name}
        path = f"/topics/{name}"
        of = node_id("RT", f"{self.database_id}/{name}")
        return {"typename": "RepositoryTopic", "id": of, "topic": topic, "resource_path": path, "url": WEB + path}

    def commit(self, oid: str) -> Commit:
        """A commit that is known here."""
        found = self.repo.commits.get(oid)
        if found is None:  # what the world deploys or tags without having merged it
            found = self.repo.commits[self.repo.landed[0]]
        return Commit(found, self)

    def object(self, info: Any, expression: str | None = None, oid: str | None = None) -> Commit | None:
        """A commit by its id, or a branch's head."""
        wanted = oid or (self.repo.head if expression in ("main", "HEAD") else expression or "")
        found = self._open.commits.get(wanted)
        return Commit(found, self) if found else None

    # Pull requests and issues

    def pull_request(self, info: Any, number: int) -> PullRequest:
        """One of them. Raises NotFoundError."""
        pull = self._open.pulls.get(number)
        if pull is None:
            raise NotFoundError(f"Could not resolve to a PullRequest with the number of {number}.")
        return PullRequest(pull, self)

    def pull_requests(self, info: Any, **given: Any) -> Connection:
        """Filtered and ordered (by number, oldest first, unless said)."""
        states, head, base = given.get("states"), given.get("head_ref_name"), given.get("base_ref_name")
        labels = set(given.get("labels") or ())
        rows, key = ordered(self._open, "pulls", given.get("order_by"))
        if states or head or base or labels:
            rows = [
                pull
                for pull in rows
                if (not states or pull.state in states)
                and (not head or pull.opened.branch == head)
                and (not base or base == "main")
                and (not labels or labels & set(pull.labels))
            ]
        return Connection(rows, lambda pull: PullRequest(pull, self), key, **paging(given))

    def issue(self, info: Any, number: int) -> Issue:
        """One of them. Raises NotFoundError."""
        issue = self._open.issues.get(number)
        if issue is None:
            raise NotFoundError(f"Could not resolve to an Issue with the number of {number}.")
        return Issue(issue, self)

    def issues(self, info: Any, **given: Any) -> Connection:
        """Filtered and ordered; none where they are switched off."""
        filters = given.get("filter_by") or {}
        states = given.get("states") or filters.get("states")
        since = moment(filters["since"]) if filters.get("since") else None
        labels = set(given.get("labels") or filters.get("labels") or ())
        rows, key = ordered(self._open, "issues", given.get("order_by"))
        rows = [
            issue
            for issue in rows
            if (not states or issue.state in states)
            and (since is None or issue.updated_at >= since)
            and (not labels or labels & set(issue.labels))
        ]
        return Connection(rows, lambda issue: Issue(issue, self), key, **paging(given))

    def milestones(self, info: Any, **given: Any) -> Connection:
        """Those of every repository here."""
        return Connection(MILESTONES, lambda title: Milestone(title, self.repo), **paging(given))

    # Releases, tags, deployments

    def deployments(self, info: Any, **given: Any) -> Connection:
        """Oldest first unless ordered."""
        wanted = given.get("environments")
        rows = [d for d in self._open.deployments.values() if not wanted or d.created.environment in wanted]
        sign = -1 if (given.get("order_by") or {}).get("direction") == "DESC" else 1
        rows = rows[::sign]
        return Connection(rows, lambda d: Deployment(d, self), lambda d: (sign * d.id,), **paging(given))

    def releases(self, info: Any, **given: Any) -> Connection:
        """Newest first unless ordered."""
        order = given.get("order_by") or {"field": "CREATED_AT", "direction": "DESC"}
        sign = -1 if order["direction"] == "DESC" else 1
        rows = list(self._open.releases.values())

        def key(release: st.Release) -> tuple[Any, ...]:
            return (release.created.tag,) if order["field"] == "NAME" else (sign * release.id,)

        rows.sort(key=key, reverse=order["field"] == "NAME" and sign < 0)
        by = key if order["field"] != "NAME" else None
        return Connection(rows, lambda r: Release(r, self), by, **paging(given))

    def release(self, info: Any, tag_name: str) -> Release | None:
        """By its tag."""
        found = (r for r in self._open.releases.values() if r.created.tag == tag_name)
        return next((Release(r, self) for r in found), None)

    @property
    def latest_release(self) -> Release | None:
        """The newest that is out."""
        found = latest_release(self._open)
        return Release(found, self) if found else None

    def ref(self, info: Any, qualified_name: str) -> Ref | None:
        """A branch or a tag."""
        kind, _, name = qualified_name.removeprefix("refs/").partition("/")
        if kind == "tags":
            tag = self._open.tags.get(name)
            return TagRef(tag, self) if tag else None
        return self.default_branch_ref if qualified_name in ("refs/heads/main", "main") else None

    def refs(self, info: Any, ref_prefix: str, **given: Any) -> Connection:
        """Branches or tags: by name, or tags by the date of what they point at."""
        if not ref_prefix.startswith("refs/tags"):
            heads = [self.default_branch_ref] if self.repo.landed and ref_prefix.startswith("refs/heads") else []
            return Connection(heads, lambda ref: ref, **paging(given))
        tags = sorted(self._open.tags.values(), key=lambda t: t.created.name)
        order = given.get("order_by") or {"field": "ALPHABETICAL", "direction": given.get("direction") or "ASC"}
        if order["field"] == "TAG_COMMIT_DATE":
            tags.sort(key=lambda t: self.commit(t.created.sha).commit.committed_at)
        if order["direction"] == "DESC":
            tags.reverse()
        if query := given.get("query"):
            tags = [t for t in tags if query in t.created.name]
        return Connection(tags, lambda tag: TagRef(tag, self), **paging(given))


class Milestone:
    """A milestone: the same in every repository."""

    typename, closed, closed_at, due_on, state = "Milestone", False, None, None, "OPEN"
    created_at = updated_at = CREATED_AT

    def __init__(self, title: str, repo: st.Repo) -> None:
        self.title, self.number = title, MILESTONES.index(title) + 1
        self.id = node_id("MI", number_of(f"{repo.place.id}/{title}"))
        self.url = f"{WEB}/{repo.full_name}/milestone/{self.number}"


def ordered(
    repo: st.Repo, what: str, order: dict[str, str] | None
) -> tuple[list[Any], Callable[[Any], tuple[Any, ...]]]:
    """A repository's `pulls` or `issues` in an order, and the key of it. Sorted once, until something happens there."""
    order = order or {"field": "CREATED_AT", "direction": "ASC"}
    sign = -1 if order["direction"] == "DESC" else 1
    field = _SUBJECT_KEYS[order["field"]]

    def key(it: st.Subject) -> tuple[int, int]:
        value = field(it)
        return sign * int(value.timestamp() if hasattr(value, "timestamp") else value), sign * it.number

    held: dict[int, Any] = getattr(repo, what)
    name = f"{what}/{order['field']}/{sign}"
    return repo.kept(name, lambda: sorted(held.values(), key=key)), key


class Graph:
    """One request's way into the state."""

    def __init__(self, state: State) -> None:
        self.state, self.hub = state, state.hub
        self._repositories: dict[int, Repository] = {}
        self._suites: dict[int, CheckSuite] = {}

    def repository(self, repo: st.Repo) -> Repository:
        """The object of a repository."""
        found = self._repositories.get(repo.place.id)
        if found is None:
            found = self._repositories[repo.place.id] = Repository(repo, self)
        return found

    def suite(self, suite: st.Suite) -> CheckSuite:
        """The object of a check suite."""
        found = self._suites.get(suite.id)
        if found is None:
            found = self._suites[suite.id] = CheckSuite(suite, self)
        return found

    def find(self, owner: str, name: str, *, follow_renames: bool = True) -> Repository:
        """By owner and name, in any case, old ones too. Raises NotFoundError."""
        full = f"{owner}/{name}".lower()
        repo = self.hub.names.get(full)
        if repo is None or not (follow_renames or repo.full_name.lower() == full):
            raise NotFoundError(f"Could not resolve to a Repository with the name '{owner}/{name}'.")
        return self.repository(repo)

    def organization(self, login: str) -> Organization:
        """By its login. Raises NotFoundError."""
        if login.lower() not in OWNERS:
            raise NotFoundError(f"Could not resolve to an Organization with the login of '{login}'.")
        return Organization(login.lower(), self)

    def node(self, wanted: str) -> Any:
        """Anything by its global id. Raises NotFoundError, ForbiddenError."""
        found = self.hub.nodes.get(wanted)
        if found is None:
            raise NotFoundError(f"Could not resolve to a node with the global id of '{wanted}'")
        if isinstance(found, st.Repo):
            return self.repository(found)
        if isinstance(found, st.Check):
            return self._allowed(found.suite.repo, lambda r: CheckRun(found, self))
        if isinstance(found, tuple):
            return self._part(*found)
        makers: dict[type, Callable[[Repository], Any]] = {
            st.PullRequest: lambda r: PullRequest(found, r),
            st.Issue: lambda r: Issue(found, r),
            st.Deployment: lambda r: Deployment(found, r),
            st.Release: lambda r: Release(found, r),
            st.Suite: lambda r: self.suite(found),
            st.WorkflowRun: lambda r: WorkflowRun(found, self),
        }
        return self._allowed(found.repo, makers[type(found)])

    def _part(self, of: Any, part: Any) -> Any:
        """A commit of a repository, a review or a thread of a pull request."""
        if isinstance(of, st.Repo):
            return self._allowed(of, lambda r: Commit(part, r))
        kind = Review if isinstance(part, st.Review) else Thread
        return self._allowed(of.repo, lambda r: kind(part, PullRequest(of, r)))

    def _allowed(self, repo: st.Repo, make: Callable[[Repository], Any]) -> Any:
        if repo.place.forbidden:
            raise ForbiddenError
        return make(self.repository(repo))

    def nodes(self, wanted: list[str]) -> list[Any]:
        """Several, with the error in the place of one that fails."""
        found: list[Any] = []
        for one in wanted:
            try:
                found.append(self.node(one))
            except (NotFoundError, ForbiddenError) as error:
                found.append(error)
        return found
