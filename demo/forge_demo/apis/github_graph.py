"""GitHub's GraphQL objects over the world's state: a class a type, an attribute or method a field (snake_case)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from forge_demo import events as ev
from forge_demo import organisation as org
from forge_demo import state as st
from forge_demo.apis.common import iso_seconds
from forge_demo.apis.github_objects import WEB, Account, Connection, NotFoundError, empty, number_of, paging
from forge_demo.apis.github_runs import CheckSuite, Deployment, Ref, StatusCheckRollup
from forge_demo.organisation import Person
from forge_demo.state import node_id


class Organization:
    """The one organisation."""

    typename = "Organization"
    login, name, database_id = org.ORGANISATION, "Acme Robotics", 7_000_001
    resource_path, url = f"/{org.ORGANISATION}", f"{WEB}/{org.ORGANISATION}"

    def __init__(self, graph: Graph) -> None:
        self.graph, self.id = graph, node_id("O", self.database_id)

    def avatar_url(self, info: Any, **_: Any) -> str:
        """A picture that is not there."""
        return f"{WEB}/avatars/{self.login}"

    def repositories(self, info: Any, **given: Any) -> Connection:
        """All of them, by name unless ordered."""
        names = sorted(org.REPOSITORIES)
        order = given.get("order_by") or {"field": "NAME", "direction": "ASC"}
        if order["field"] != "NAME":
            names.sort(key=lambda name: (self.graph.repository(name).pushed_at or "", name))
        if order["direction"] == "DESC":
            names.reverse()
        return Connection(names, self.graph.repository, **paging(given))

    def repository(self, info: Any, name: str, **_: Any) -> Repository:
        """One of them."""
        return self.graph.find(org.ORGANISATION, name)


class Repository:
    """A repository."""

    typename = "Repository"
    is_archived = is_disabled = is_empty = is_fork = False
    is_private, visibility = True, "PRIVATE"

    def __init__(self, name: str, graph: Graph) -> None:
        self.graph, self.name = graph, name
        self.database_id = 500_000 + org.REPOSITORIES.index(name)
        self.id, self.name_with_owner = node_id("R", self.database_id), f"{org.ORGANISATION}/{name}"
        self.owner = Organization(graph)
        self.resource_path, self.url = f"/{self.name_with_owner}", f"{WEB}/{self.name_with_owner}"
        self.description = f"The {name} service"
        self.created_at = "2022-03-01T09:00:00Z"

    @property
    def pulls(self) -> list[st.PullRequest]:
        """Its pull requests, oldest first."""
        return self.graph.state.pulls_of(self.name)

    @property
    def pushed_at(self) -> str | None:
        """When a commit last came."""
        return iso_seconds(max((c.committed_at for pull in self.pulls for c in pull.commits), default=None))

    @property
    def updated_at(self) -> str:
        """Repositories change when they are pushed to."""
        return self.pushed_at or self.created_at

    @property
    def default_branch_ref(self) -> Ref:
        """main."""
        merged = [pull.merged.sha for pull in self.pulls if pull.merged]
        return Ref("main", merged[-1] if merged else "0" * 40, self)

    def pull_request(self, info: Any, number: int) -> PullRequest:
        """One of them."""
        for pull in self.pulls:
            if pull.number == number:
                return PullRequest(pull, self)
        raise NotFoundError(f"Could not resolve to a PullRequest with the number of {number}.")

    def pull_requests(self, info: Any, **given: Any) -> Connection:
        """Filtered and ordered (by number, oldest first, unless said)."""
        rows = self.pulls
        states, head, base = given.get("states"), given.get("head_ref_name"), given.get("base_ref_name")
        labels = set(given.get("labels") or ())
        rows = [
            pull
            for pull in rows
            if (not states or pull.state in states)
            and (not head or pull.opened.branch == head)
            and (not base or base == "main")
            and (not labels or labels & set(pull.labels))
        ]
        order = given.get("order_by") or {"field": "CREATED_AT", "direction": "ASC"}
        sign = -1 if order["direction"] == "DESC" else 1

        def key(pull: st.PullRequest) -> tuple[int, int]:
            at = pull.updated_at if order["field"] == "UPDATED_AT" else pull.opened.at
            return sign * int(at.timestamp()), sign * pull.number

        rows.sort(key=key)
        return Connection(rows, lambda pull: PullRequest(pull, self), key, **paging(given))

    def deployments(self, info: Any, **given: Any) -> Connection:
        """Oldest first unless ordered."""
        wanted = given.get("environments")
        rows = [d for d in self.graph.state.deployments.values() if d.created.repository == self.name]
        rows = [d for d in rows if not wanted or d.created.environment in wanted]
        sign = -1 if (given.get("order_by") or {}).get("direction") == "DESC" else 1
        rows.sort(key=lambda d: sign * d.id)
        return Connection(rows, lambda d: Deployment(d, self), lambda d: (sign * d.id,), **paging(given))


# Commits


class Commit:
    """A commit; a merge commit is by who merged."""

    typename = "Commit"

    def __init__(self, commit: ev.Commit, repository: Repository) -> None:
        self.commit, self.repository = commit, repository
        self.oid, self.abbreviated_oid = commit.oid, commit.oid[:7]
        self.id = node_id("C", commit.oid)
        self.url = self.commit_url = f"{repository.url}/commit/{commit.oid}"
        self.authored_date, self.committed_date = iso_seconds(commit.authored_at), iso_seconds(commit.committed_at)
        self.message = commit.message
        self.message_headline, _, rest = commit.message.partition("\n")
        self.message_body = rest.strip()
        self.additions, self.deletions, self.changed_files_if_available = commit.additions, commit.deletions, 1
        self.author = self.committer = GitActor(org.BY_LOGIN[commit.author], commit.authored_at)

    def authors(self, info: Any, **given: Any) -> Connection:
        """The author, then co-authors."""
        lines = (line for line in self.message.splitlines() if line.lower().startswith("co-authored-by:"))
        named = [p for line in lines for p in org.PEOPLE if f"<{p.email}>" in line]
        people = [org.BY_LOGIN[self.commit.author], *named]
        return Connection(people, lambda p: GitActor(p, self.commit.authored_at), **paging(given))

    @property
    def runs(self) -> list[st.WorkflowRun]:
        """CI on this commit."""
        return self.repository.graph.runs_of(self.oid)

    @property
    def status_check_rollup(self) -> StatusCheckRollup | None:
        """None without checks."""
        return StatusCheckRollup(self) if self.runs else None

    def check_suites(self, info: Any, **given: Any) -> Connection:
        """One suite a workflow run."""
        return Connection(self.runs, lambda run: CheckSuite(run, self), **paging(given))


class GitActor:
    """Name and address in a commit; `user` only of humans, as bots are no users."""

    typename = "GitActor"

    def __init__(self, person: Person, at: datetime) -> None:
        self.name, self.email, self.date = person.git_name, person.email, iso_seconds(at)
        self.user = None if person.is_agent else Account(person)

    def avatar_url(self, info: Any, **_: Any) -> str:
        """A picture that is not there."""
        return f"{WEB}/avatars/{self.email}"


# Pull requests


class PullRequest:
    """A pull request."""

    typename, base_ref_name, author_association = "PullRequest", "main", "MEMBER"
    is_cross_repository = locked = False

    def __init__(self, pull: st.PullRequest, repository: Repository) -> None:
        self.pull, self.repository = pull, repository
        it = pull.opened
        self.number, self.database_id, self.full_database_id, self.id = (
            pull.number,
            pull.id,
            str(pull.id),
            node_id("PR", pull.id),
        )
        self.title, self.body, self.body_text, self.state = it.title, it.body, it.body, pull.state
        self.resource_path = f"{repository.resource_path}/pull/{pull.number}"
        self.url = self.permalink = WEB + self.resource_path
        self.author, self.is_draft, self.changed_files = Account(pull.author), pull.draft, pull.files
        self.additions, self.deletions = sum(c.additions for c in pull.commits), sum(c.deletions for c in pull.commits)
        self.created_at = self.published_at = iso_seconds(it.at)
        self.updated_at, self.closed_at = iso_seconds(pull.updated_at), iso_seconds(pull.closed_at)
        self.closed, self.merged = pull.closed_at is not None, pull.merged is not None
        self.merged_at = iso_seconds(pull.merged.at) if pull.merged else None
        self.merged_by = Account(org.BY_LOGIN[pull.merged.actor]) if pull.merged else None
        self.mergeable = "UNKNOWN" if self.closed else "MERGEABLE"
        self.head_ref_name, self.head_ref_oid = it.branch, pull.head
        self.base_repository = self.head_repository = repository
        self.review_decision, self.total_comments_count = pull.review_decision, 0

    @property
    def merge_commit(self) -> Commit | None:
        """The commit on main."""
        merged = self.pull.merged
        return self.repository.graph.commit(merged.sha, self.repository) if merged else None

    @property
    def status_check_rollup(self) -> StatusCheckRollup | None:
        """That of the head."""
        return Commit(self.pull.commits[-1], self.repository).status_check_rollup

    def commits(self, info: Any, **given: Any) -> Connection:
        """Oldest first."""
        return Connection(self.pull.commits, lambda c: PullRequestCommit(c, self), **paging(given))

    def labels(self, info: Any, **given: Any) -> Connection:
        """In the order they were put on."""
        return Connection(self.pull.labels, lambda name: Label(name, self.repository), **paging(given))

    def reviews(self, info: Any, **given: Any) -> Connection:
        """Oldest first."""
        states, author = given.get("states"), given.get("author")
        rows = [r for r in self.pull.reviews if (not states or r.state in states) and author in (None, r.author.login)]
        return Connection(rows, lambda r: Review(r, self), **paging(given))

    def review_requests(self, info: Any, **given: Any) -> Connection:
        """Who still owes a review."""
        return Connection(self.pull.requested_reviewers, lambda p: ReviewRequest(p, self), **paging(given))

    def timeline_items(self, info: Any, **given: Any) -> Connection:
        """Oldest first; by type and since."""
        items = sorted(self._timeline(), key=lambda item: str(item.created_at))
        types, since = given.get("item_types"), given.get("since")
        items = [i for i in items if not types or _ITEM_TYPES[i.typename] in types]
        return Connection([i for i in items if not since or str(i.created_at) >= since], lambda i: i, **paging(given))

    def _timeline(self) -> Iterable[Any]:
        pull = self.pull
        yield from (PullRequestCommit(c, self) for c in pull.commits)
        yield from (Review(r, self) for r in pull.reviews)
        yield from (TimelineEvent("ReadyForReviewEvent", e, e.actor, self) for e in pull.ready)
        yield from (
            TimelineEvent("LabeledEvent", e, e.actor, self, label=Label(e.label, self.repository)) for e in pull.labeled
        )
        for request in pull.requests:
            reviewer = Account(org.BY_LOGIN[request.reviewer])
            yield TimelineEvent("ReviewRequestedEvent", request, request.actor, self, requested_reviewer=reviewer)
        if pull.merged:
            yield TimelineEvent("MergedEvent", pull.merged, pull.merged.actor, self, commit=self.merge_commit)
        end = pull.merged or pull.closed
        if end:
            yield TimelineEvent("ClosedEvent", end, end.actor, self)

    assignees = staticmethod(lambda info, **given: empty(**given))
    closing_issues_references = staticmethod(lambda info, **given: empty(**given))
    comments = staticmethod(lambda info, **given: empty(**given))
    review_threads = staticmethod(lambda info, **given: empty(**given))


class PullRequestCommit:
    """A commit in a pull request."""

    typename = "PullRequestCommit"

    def __init__(self, commit: ev.Commit, pull: PullRequest) -> None:
        self.commit, self.id = Commit(commit, pull.repository), node_id("PURC", f"{pull.number}/{commit.oid}")
        self.url, self.created_at = f"{pull.url}/commits/{commit.oid}", iso_seconds(commit.committed_at)


class Label:
    """A label."""

    typename, color = "Label", "0e8a16"

    def __init__(self, name: str, repository: Repository) -> None:
        self.name, self.description = name, None
        self.id, self.url = node_id("LA", f"{repository.name}/{name}"), f"{repository.url}/labels/{name}"


class Review:
    """A submitted review."""

    typename, author_association = "PullRequestReview", "MEMBER"

    def __init__(self, review: st.Review, pull: PullRequest) -> None:
        self._review, self.pull_request = review, pull
        self.database_id, self.full_database_id, self.id = review.id, str(review.id), node_id("PRR", review.id)
        self.author, self.body, self.state = Account(review.author), review.body, review.state
        self.created_at = self.submitted_at = self.published_at = self.updated_at = iso_seconds(review.at)
        self.url = f"{pull.url}#pullrequestreview-{review.id}"

    @property
    def commit(self) -> Commit:
        """What was reviewed."""
        commits = self.pull_request.pull.commits
        found = next((c for c in commits if c.oid == self._review.oid), commits[-1])
        return Commit(found, self.pull_request.repository)

    comments = staticmethod(lambda info, **given: empty(**given))


class ReviewRequest:
    """Somebody who owes a review."""

    typename, as_code_owner = "ReviewRequest", False

    def __init__(self, person: Person, pull: PullRequest) -> None:
        self.database_id = number_of(f"{pull.id}/{person.login}") % 2_000_000_000
        self.id, self.requested_reviewer = node_id("RR", self.database_id), Account(person)


class TimelineEvent:
    """Something that happened to a pull request."""

    merge_ref_name = "main"

    def __init__(self, typename: str, event: ev.Event, actor: str, pull: PullRequest, **more: Any) -> None:
        self.typename, self.created_at, self.pull_request = typename, iso_seconds(event.at), pull
        self.id, self.actor = (
            node_id("EV", f"{pull.id}/{typename}/{event.at.timestamp():.0f}"),
            Account(org.BY_LOGIN[actor]),
        )
        self.label, self.commit = more.get("label"), more.get("commit")
        self.requested_reviewer = more.get("requested_reviewer")


_ITEM_TYPES = {
    "PullRequestCommit": "PULL_REQUEST_COMMIT",
    "PullRequestReview": "PULL_REQUEST_REVIEW",
    "ReadyForReviewEvent": "READY_FOR_REVIEW_EVENT",
    "LabeledEvent": "LABELED_EVENT",
    "ReviewRequestedEvent": "REVIEW_REQUESTED_EVENT",
    "MergedEvent": "MERGED_EVENT",
    "ClosedEvent": "CLOSED_EVENT",
}


class Graph:
    """The entry: what a query's root fields give."""

    def __init__(self, state: st.State) -> None:
        self.state = state
        self._runs: dict[str, list[st.WorkflowRun]] = {}
        for run in state.runs.values():
            self._runs.setdefault(run.started.sha, []).append(run)
        self._merges = {p.merged.sha: p for p in state.pull_requests.values() if p.merged}

    def runs_of(self, oid: str) -> list[st.WorkflowRun]:
        """CI on a commit."""
        return self._runs.get(oid, [])

    def repository(self, name: str) -> Repository:
        """By its name."""
        return Repository(name, self)

    def find(self, owner: str, name: str) -> Repository:
        """By owner and name, in any case. Raises NotFoundError."""
        real = next((r for r in org.REPOSITORIES if r == name.lower()), None)
        if owner.lower() != org.ORGANISATION or real is None:
            raise NotFoundError(f"Could not resolve to a Repository with the name '{owner}/{name}'.")
        return self.repository(real)

    def organization(self, login: str) -> Organization:
        """By its login. Raises NotFoundError."""
        if login.lower() != org.ORGANISATION:
            raise NotFoundError(f"Could not resolve to an Organization with the login of '{login}'.")
        return Organization(self)

    def commit(self, oid: str, repository: Repository) -> Commit:
        """A merge commit on main (what the world deploys)."""
        pull = self._merges.get(oid)
        if pull is None or pull.merged is None:
            origin = ev.Commit(oid, org.PLATFORM.lead.login, self.state.now, self.state.now, "Start", 0, 0)
            return Commit(origin, repository)
        at, title = pull.merged.at, f"{pull.opened.title} (#{pull.number})"
        added, deleted = sum(c.additions for c in pull.commits), sum(c.deletions for c in pull.commits)
        return Commit(ev.Commit(oid, pull.merged.actor, at, at, title, added, deleted), repository)

    def node(self, wanted: str) -> Any:
        """A pull request or a repository by its global id. Raises NotFoundError."""
        for pull in self.state.pull_requests.values():
            if node_id("PR", pull.id) == wanted:
                return PullRequest(pull, self.repository(pull.repository))
        for name in org.REPOSITORIES:
            if self.repository(name).id == wanted:
                return self.repository(name)
        raise NotFoundError(f"Could not resolve to a node with the global id of '{wanted}'")
