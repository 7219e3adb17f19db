"""GitHub's GraphQL objects over the world's state: a class a type, an attribute or method a field (snake_case)."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any
from zlib import crc32

from forge_demo import events as ev
from forge_demo import organisation as org
from forge_demo import state as st
from forge_demo.apis.common import iso_seconds
from forge_demo.organisation import Person
from forge_demo.state import node_id

WEB = "https://github.example"


class NotFoundError(Exception):
    """A name that resolves to nothing; `type` goes beside the message."""

    type = "NOT_FOUND"


class PaginationError(Exception):
    """Bad first, last, after or before."""

    type = "INVALID_CURSOR_ARGUMENTS"


def number_of(text: str) -> int:
    """A stable database id for what the world gives none."""
    return 1_000_000_000 + crc32(text.encode())


# Connections


@dataclass(frozen=True)
class Edge:
    """One node and where it stands."""

    cursor: str | None
    node: Any


class Connection:
    """A page of `items`; a cursor is the sort key of its item, so that it holds while items move."""

    def __init__(
        self,
        items: Sequence[Any],
        shape: Callable[[Any], Any],
        key: Callable[[Any], tuple[Any, ...]] | None = None,
        *,
        first: int | None = None,
        last: int | None = None,
        after: str | None = None,
        before: str | None = None,
    ) -> None:
        keyed = [(list(key(item)) if key else [index], item) for index, item in enumerate(items)]
        self.total_count = len(keyed)
        self._all, self._shape = keyed, shape
        if after:
            mark = _read_cursor(after)
            keyed = [row for row in keyed if row[0] > mark]
        if before:
            mark = _read_cursor(before)
            keyed = [row for row in keyed if row[0] < mark]
        if first is not None:
            keyed = keyed[:first]
        elif last is not None:
            keyed = keyed[len(keyed) - min(last, len(keyed)) :]
        self._page = keyed

    @cached_property
    def nodes(self) -> list[Any]:
        """The items."""
        return [self._shape(item) for _, item in self._page]

    @property
    def edges(self) -> list[Edge]:
        """The items with their cursors."""
        return [Edge(_cursor(key), node) for (key, _), node in zip(self._page, self.nodes, strict=True)]

    @property
    def page_info(self) -> dict[str, Any]:
        """Where the page stands."""
        begin, end = (self._page[0][0], self._page[-1][0]) if self._page else (None, None)
        return {
            "start_cursor": _cursor(begin),
            "end_cursor": _cursor(end),
            "has_next_page": end is not None and self._all[-1][0] > end,
            "has_previous_page": begin is not None and self._all[0][0] < begin,
        }

    # PullRequestTimelineItemsConnection says a little more
    @property
    def filtered_count(self) -> int:
        """Items after the filter."""
        return self.total_count

    @property
    def page_count(self) -> int:
        """Items in the page."""
        return len(self._page)

    @property
    def updated_at(self) -> str:
        """When the newest of them happened."""
        return max((getattr(node, "created_at", "") for node in self.nodes), default="") or "2008-01-01T00:00:00Z"


def _cursor(key: list[Any] | None) -> str | None:
    return None if key is None else base64.b64encode(b"cursor:" + json.dumps(key).encode()).decode()


def _read_cursor(text: str) -> list[Any]:
    try:
        return list(json.loads(base64.b64decode(text, validate=True).removeprefix(b"cursor:")))
    except (ValueError, TypeError) as error:
        raise PaginationError(f"`{text}` does not appear to be a valid cursor.") from error


def empty(**paging: Any) -> Connection:
    """Of what this world has none."""
    paging = {k: v for k, v in paging.items() if k in ("first", "last", "after", "before")}
    return Connection((), lambda item: item, **paging)


def _paging(arguments: dict[str, Any]) -> dict[str, Any]:
    return {k: arguments.get(k) for k in ("first", "last", "after", "before")}


# Accounts


class Account:
    """A User or a Bot."""

    def __init__(self, person: Person) -> None:
        self.typename = "Bot" if person.is_agent else "User"
        self.login, self.name, self.email = person.login, person.name, "" if person.is_agent else person.email
        self.database_id = person.database_id
        self.id = node_id("BOT" if person.is_agent else "U", person.database_id)
        self.resource_path = f"/apps/{person.login}" if person.is_agent else f"/{person.login}"
        self.url = WEB + self.resource_path

    def avatar_url(self, info: Any, **_: Any) -> str:
        """A picture that is not there."""
        return f"{WEB}/avatars/{self.login}"


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
        return Connection(names, self.graph.repository, **_paging(given))

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
        return Connection(rows, lambda pull: PullRequest(pull, self), key, **_paging(given))

    def deployments(self, info: Any, **given: Any) -> Connection:
        """Oldest first unless ordered."""
        wanted = given.get("environments")
        rows = [d for d in self.graph.state.deployments.values() if d.created.repository == self.name]
        rows = [d for d in rows if not wanted or d.created.environment in wanted]
        sign = -1 if (given.get("order_by") or {}).get("direction") == "DESC" else 1
        rows.sort(key=lambda d: sign * d.id)
        return Connection(rows, lambda d: Deployment(d, self), lambda d: (sign * d.id,), **_paging(given))


class Ref:
    """A branch."""

    typename, prefix = "Ref", "refs/heads/"

    def __init__(self, name: str, oid: str, repository: Repository) -> None:
        self.name, self.id = name, node_id("REF", f"{repository.name}/{name}")
        self._oid, self._repository = oid, repository

    @property
    def target(self) -> Commit:
        """Its head."""
        return self._repository.graph.commit(self._oid, self._repository)


# Commits and checks


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
        return Connection(people, lambda p: GitActor(p, self.commit.authored_at), **_paging(given))

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
        return Connection(self.runs, lambda run: CheckSuite(run, self), **_paging(given))


class GitActor:
    """Name and address in a commit; `user` only of humans, as bots are no users."""

    typename = "GitActor"

    def __init__(self, person: Person, at: datetime) -> None:
        self.name, self.email, self.date = person.git_name, person.email, iso_seconds(at)
        self.user = None if person.is_agent else Account(person)

    def avatar_url(self, info: Any, **_: Any) -> str:
        """A picture that is not there."""
        return f"{WEB}/avatars/{self.email}"


class StatusCheckRollup:
    """All checks of a commit in one word."""

    typename = "StatusCheckRollup"

    def __init__(self, commit: Commit) -> None:
        self._commit, self.id = commit, node_id("SCR", commit.oid)
        ends = {run.conclusion for run in commit.runs}
        self.state = "FAILURE" if "failure" in ends else "PENDING" if None in ends else "SUCCESS"

    def contexts(self, info: Any, **given: Any) -> Connection:
        """The check runs."""
        return Connection(self._commit.runs, lambda run: CheckRun(run, self._commit), **_paging(given))


class _App:
    typename, database_id, id, name, slug = "App", 15_368, node_id("A", 15_368), "GitHub Actions", "github-actions"


class CheckSuite:
    """One workflow run's checks."""

    typename, app = "CheckSuite", _App()

    def __init__(self, run: st.WorkflowRun, commit: Commit) -> None:
        self._run, self._commit = run, commit
        self.database_id = run.id + 1_000_000_000
        self.id, self.url = node_id("CS", self.database_id), f"{commit.url}/checks?check_suite_id={self.database_id}"
        self.status = "IN_PROGRESS" if run.conclusion is None else "COMPLETED"
        self.conclusion = run.conclusion and run.conclusion.upper()
        self.created_at, self.updated_at = iso_seconds(run.created_at), iso_seconds(run.updated_at)
        self.branch = Ref(run.started.branch, run.started.sha, commit.repository)
        self.workflow_run = _WorkflowRun(run, commit.repository)

    def check_runs(self, info: Any, **given: Any) -> Connection:
        """One check a workflow."""
        return Connection([self._run], lambda run: CheckRun(run, self._commit), **_paging(given))


class CheckRun:
    """One check."""

    typename = "CheckRun"

    def __init__(self, run: st.WorkflowRun, commit: Commit) -> None:
        self._run, self._commit = run, commit
        self.database_id = run.id * 3 + run.started.attempt
        self.id, self.name = node_id("CR", self.database_id), run.started.name
        self.status = "IN_PROGRESS" if run.conclusion is None else "COMPLETED"
        self.conclusion = run.conclusion and run.conclusion.upper()
        self.started_at = iso_seconds(run.started.at)
        self.completed_at = iso_seconds(run.updated_at) if run.conclusion else None
        self.url = self.details_url = f"{commit.repository.url}/actions/runs/{run.id}/job/{self.database_id}"

    @property
    def check_suite(self) -> CheckSuite:
        """Its suite."""
        return CheckSuite(self._run, self._commit)


class _WorkflowRun:
    typename = "WorkflowRun"

    def __init__(self, run: st.WorkflowRun, repository: Repository) -> None:
        self.database_id, self.id, self.run_number = run.id, node_id("WFR", run.id), run.number
        self.created_at, self.updated_at = iso_seconds(run.created_at), iso_seconds(run.updated_at)
        self.event, self.url = "pull_request" if run.started.ref else "push", f"{repository.url}/actions/runs/{run.id}"
        number = number_of(run.started.name)
        self.workflow = {"database_id": number, "id": node_id("W", number), "name": run.started.name}


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
        return Connection(self.pull.commits, lambda c: PullRequestCommit(c, self), **_paging(given))

    def labels(self, info: Any, **given: Any) -> Connection:
        """In the order they were put on."""
        return Connection(self.pull.labels, lambda name: Label(name, self.repository), **_paging(given))

    def reviews(self, info: Any, **given: Any) -> Connection:
        """Oldest first."""
        states, author = given.get("states"), given.get("author")
        rows = [r for r in self.pull.reviews if (not states or r.state in states) and author in (None, r.author.login)]
        return Connection(rows, lambda r: Review(r, self), **_paging(given))

    def review_requests(self, info: Any, **given: Any) -> Connection:
        """Who still owes a review."""
        return Connection(self.pull.requested_reviewers, lambda p: ReviewRequest(p, self), **_paging(given))

    def timeline_items(self, info: Any, **given: Any) -> Connection:
        """Oldest first; by type and since."""
        items = sorted(self._timeline(), key=lambda item: str(item.created_at))
        types, since = given.get("item_types"), given.get("since")
        items = [i for i in items if not types or _ITEM_TYPES[i.typename] in types]
        return Connection([i for i in items if not since or str(i.created_at) >= since], lambda i: i, **_paging(given))

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


# Deployments


class Deployment:
    """A deployment."""

    typename, description, task, ref = "Deployment", None, "deploy", None

    def __init__(self, deployment: st.Deployment, repository: Repository) -> None:
        self._deployment, self.repository = deployment, repository
        it = deployment.created
        self.database_id, self.id, self.commit_oid = deployment.id, node_id("DE", deployment.id), it.sha
        self.environment = self.latest_environment = self.original_environment = it.environment
        self.created_at, self.updated_at = iso_seconds(it.at), iso_seconds(deployment.updated_at)
        self.creator = Account(org.BY_LOGIN[it.actor])
        last = deployment.statuses[-1][1].state if deployment.statuses else "pending"
        self.state = {"success": "ACTIVE"}.get(last, last.upper())

    @property
    def commit(self) -> Commit:
        """What was deployed."""
        return self.repository.graph.commit(self.commit_oid, self.repository)

    @property
    def latest_status(self) -> DeploymentStatus | None:
        """The newest."""
        statuses = self._deployment.statuses
        return DeploymentStatus(statuses[-1][0], statuses[-1][1], self) if statuses else None

    def statuses(self, info: Any, **given: Any) -> Connection:
        """Newest first."""
        rows = list(reversed(self._deployment.statuses))
        return Connection(rows, lambda row: DeploymentStatus(row[0], row[1], self), **_paging(given))


class DeploymentStatus:
    """A state of a deployment."""

    typename, description, environment_url, log_url = "DeploymentStatus", None, None, None

    def __init__(self, number: int, event: ev.DeploymentStatusCreated, deployment: Deployment) -> None:
        self.id, self.state, self.deployment = node_id("DES", number), event.state.upper(), deployment
        self.created_at = self.updated_at = iso_seconds(event.at)
        self.creator, self.environment = Account(org.BY_LOGIN[event.actor]), deployment.environment


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
