"""GitHub's GraphQL objects of pull requests and issues: themselves, reviews, threads, comments, timelines."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from forge_demo import events as ev
from forge_demo import github_events as gh
from forge_demo import github_things as st
from forge_demo.apis.common import iso_seconds
from forge_demo.apis.github_commits import Commit
from forge_demo.apis.github_objects import WEB, Account, Connection, Label, account, number_of, paging
from forge_demo.apis.github_runs import StatusCheckRollup, contexts_of
from forge_demo.apis.github_timeline import EVENTS, ITEM_TYPES, TimelineEvent, reviewer
from forge_demo.github_places import ACCOUNTS, node_id
from forge_demo.organisation import Person

if TYPE_CHECKING:
    from forge_demo.apis.github_graph import Milestone, Repository


class _Subject:
    """What pull requests and issues share."""

    author_association, locked, last_edited_at = "MEMBER", False, None
    path = ""

    def __init__(self, it: Any, repository: Repository) -> None:
        self.it, self.repository = it, repository
        self.number, self.database_id, self.id, self.title = it.number, it.id, it.node_id, it.title
        self.body = self.body_text = it.body
        self.state = it.state

    @property
    def full_database_id(self) -> str:
        """The number as text."""
        return str(self.it.id)

    @property
    def resource_path(self) -> str:
        """Its page without the host."""
        return f"/{self.it.repo.full_name}/{self.path}/{self.number}"

    @property
    def url(self) -> str:
        """Its page."""
        return WEB + self.resource_path

    @property
    def author(self) -> Account | None:
        """None when the account is gone."""
        return account(self.it.author)

    @property
    def created_at(self) -> str | None:
        """When it was opened."""
        return iso_seconds(self.it.created_at)

    @property
    def published_at(self) -> str | None:
        """When it was opened."""
        return iso_seconds(self.it.created_at)

    @property
    def updated_at(self) -> str | None:
        """When anything of it last changed."""
        return iso_seconds(self.it.updated_at)

    @property
    def closed_at(self) -> str | None:
        """When it was closed, unless it is open again."""
        return iso_seconds(self.it.closed_at)

    @property
    def closed(self) -> bool:
        """Whether it is."""
        return self.it.closed_at is not None

    @property
    def milestone(self) -> Milestone | None:
        """What it belongs to."""
        from forge_demo.apis.github_graph import Milestone

        return Milestone(self.it.milestone, self.it.repo) if self.it.milestone else None

    def labels(self, info: Any, **given: Any) -> Connection:
        """In the order they were put on."""
        return Connection(self.it.labels, lambda name: Label(name, self.it.repo), **paging(given))

    def assignees(self, info: Any, **given: Any) -> Connection:
        """Who shall care."""
        return Connection(self.it.assignees, account, **paging(given))

    def comments(self, info: Any, **given: Any) -> Connection:
        """Oldest first unless ordered."""
        rows, sign = self.it.comments, 1
        if (given.get("order_by") or {}).get("direction") == "DESC":
            rows, sign = rows[::-1], -1
        return Connection(rows, lambda c: IssueComment(c, self), lambda c: (sign * c.id,), **paging(given))

    def timeline_items(self, info: Any, **given: Any) -> Connection:
        """Oldest first; by type and since."""
        types, since = given.get("item_types"), given.get("since")
        names = None if not types else {name for name, kind in ITEM_TYPES.items() if kind in types}
        rows = [row for row in self._timeline if names is None or row[1] in names]
        if since:
            rows = [row for row in rows if str(row[0]) >= since]
        return Connection(rows, lambda row: row[2](), **paging(given))

    @property
    def _timeline(self) -> list[tuple[str, str, Callable[[], Any]]]:
        """(when, type, how to make it), oldest first."""
        rows: list[tuple[str, str, Callable[[], Any]]] = []
        comments = {c.id: c for c in self.it.comments}
        for number, event in self.it.timeline:
            name = EVENTS.get(type(event))
            if name is None:
                continue
            if isinstance(event, gh.Assigned) and not event.assigned:
                name = "UnassignedEvent"
            at = iso_seconds(event.at) or ""
            if name == "IssueComment":
                if number in comments:
                    rows.append((at, name, lambda c=comments[number]: IssueComment(c, self)))  # type: ignore[misc]
            else:
                rows.append((at, name, lambda t=name, e=event, n=number: TimelineEvent(t, e, n, self)))  # type: ignore[misc]
            if isinstance(event, ev.PullRequestMerged):  # a merge closes
                rows.append((at, "ClosedEvent", lambda e=event, n=number: TimelineEvent("ClosedEvent", e, -n, self)))  # type: ignore[misc]
        return rows


class Issue(_Subject):
    """A GitHub issue."""

    typename, path = "Issue", "issues"

    @property
    def state_reason(self) -> str | None:
        """Why it is closed, or open again."""
        reason: str | None = self.it.state_reason
        return reason


class PullRequest(_Subject):
    """A pull request."""

    typename, path, base_ref_name = "PullRequest", "pull", "main"

    def __init__(self, pull: st.PullRequest, repository: Repository) -> None:
        super().__init__(pull, repository)
        self.pull, self.base_repository = pull, repository
        self.is_draft, self.changed_files = pull.draft, pull.files
        self.head_ref_name, self.head_ref_oid = pull.opened.branch, pull.head
        self.merged = pull.merged is not None
        self.is_cross_repository = pull.opened.fork is not None
        self.base_ref_oid, self.review_decision = repository.repo.head, pull.review_decision

    @property
    def permalink(self) -> str:
        """Its page."""
        return self.url

    @property
    def additions(self) -> int:
        """Lines."""
        return sum(c.additions for c in self.pull.commits)

    @property
    def deletions(self) -> int:
        """Lines."""
        return sum(c.deletions for c in self.pull.commits)

    @property
    def merged_at(self) -> str | None:
        """When."""
        return iso_seconds(self.pull.merged.at) if self.pull.merged else None

    @property
    def merged_by(self) -> Account | None:
        """Who."""
        return account(ACCOUNTS[self.pull.merged.actor]) if self.pull.merged else None

    @property
    def mergeable(self) -> str:
        """Known of open ones only."""
        return "UNKNOWN" if self.closed else "MERGEABLE"

    @property
    def merge_state_status(self) -> str:
        """Likewise."""
        return "UNKNOWN" if self.closed else "CLEAN"

    @property
    def head_repository(self) -> Any:
        """The fork; None when it is deleted."""
        fork = self.pull.opened.fork
        return self.repository if fork is None else Fork(fork, self.repository) if fork else None

    @property
    def head_repository_owner(self) -> Any:
        """Of the fork, likewise."""
        head = self.head_repository
        return head.owner if head else None

    @property
    def total_comments_count(self) -> int:
        """Below it and on its lines."""
        return len(self.pull.comments) + sum(len(t.comments) for t in self.pull.threads.values())

    @property
    def merge_commit(self) -> Commit | None:
        """The commit on main."""
        return self.repository.commit(self.pull.merged.sha) if self.pull.merged else None

    @property
    def status_check_rollup(self) -> StatusCheckRollup | None:
        """That of the head."""
        contexts = contexts_of(self.pull.repo, self.pull.head)
        return StatusCheckRollup(Commit(self.pull.commits[-1], self.repository), contexts) if contexts else None

    def commits(self, info: Any, **given: Any) -> Connection:
        """Oldest first."""
        return Connection(self.pull.commits, lambda c: PullRequestCommit(c, self), **paging(given))

    def closing_issues_references(self, info: Any, **given: Any) -> Connection:
        """The issues that its merge closes."""
        return Connection(self.pull.issues, lambda issue: Issue(issue, self.repository), **paging(given))

    def reviews(self, info: Any, **given: Any) -> Connection:
        """Oldest first."""
        states, author = given.get("states"), given.get("author")
        rows = [r for r in self.pull.reviews if (not states or r.state in states) and author in (None, r.author.login)]
        return Connection(rows, lambda r: Review(r, self), lambda r: (r.id,), **paging(given))

    def latest_reviews(self, info: Any, **given: Any) -> Connection:
        """The last of each reviewer."""
        rows = list({r.author.login: r for r in self.pull.reviews}.values())
        return Connection(rows, lambda r: Review(r, self), **paging(given))

    def latest_opinionated_reviews(self, info: Any, **given: Any) -> Connection:
        """The last verdict of each reviewer."""
        rows = list({r.author.login: r for r in self.pull.reviews if r.state != "COMMENTED"}.values())
        return Connection(rows, lambda r: Review(r, self), **paging(given))

    def review_requests(self, info: Any, **given: Any) -> Connection:
        """Who still owes a review."""
        return Connection(self.pull.requested, lambda login: ReviewRequest(login, self), **paging(given))

    def review_threads(self, info: Any, **given: Any) -> Connection:
        """Oldest first."""
        rows = list(self.pull.threads.values())
        return Connection(rows, lambda thread: Thread(thread, self), lambda t: (t.id,), **paging(given))

    @cached_property
    def thread_comments(self) -> dict[int, list[tuple[st.Thread, st.ThreadRemark]]]:
        """Comments on lines by their review's number."""
        found: dict[int, list[tuple[st.Thread, st.ThreadRemark]]] = {}
        for thread in self.pull.threads.values():
            for remark in thread.comments:
                found.setdefault(remark.review.id, []).append((thread, remark))
        return found

    @property
    def _timeline(self) -> list[tuple[str, str, Callable[[], Any]]]:
        rows = super()._timeline
        for commit in self.pull.commits:
            at = iso_seconds(commit.committed_at) or ""
            rows.append((at, "PullRequestCommit", lambda c=commit: PullRequestCommit(c, self)))  # type: ignore[misc]
        for review in self.pull.reviews:
            rows.append((iso_seconds(review.at) or "", "PullRequestReview", lambda r=review: Review(r, self)))  # type: ignore[misc]
        rows.sort(key=lambda row: row[0])
        return rows


class Fork:
    """A repository of somebody outside, of which little is known."""

    def __init__(self, full_name: str, of: Repository) -> None:
        self._of = of
        owner, _, self.name = full_name.partition("/")
        self.name_with_owner, self.owner = full_name, account(ACCOUNTS[owner])
        self.database_id = number_of(full_name) % 900_000_000
        self.id, self.is_fork, self.is_private, self.visibility = node_id("R", self.database_id), True, False, "PUBLIC"
        self.resource_path = f"/{full_name}"
        self.url = WEB + self.resource_path

    def __getattr__(self, name: str) -> Any:
        """The rest is as in the repository it was forked from."""
        return getattr(self._of, name)


class PullRequestCommit:
    """A commit in a pull request."""

    typename = "PullRequestCommit"

    def __init__(self, commit: ev.Commit, pull: PullRequest) -> None:
        self.commit, self.pull_request = Commit(commit, pull.repository), pull

    @property
    def id(self) -> str:
        """Its global id."""
        return node_id("PURC", f"{self.pull_request.it.id}/{self.commit.oid}")

    @property
    def url(self) -> str:
        """Its page."""
        return f"{self.pull_request.url}/commits/{self.commit.oid}"

    @property
    def created_at(self) -> str | None:
        """For the order of a timeline."""
        return self.commit.committed_date


class ReviewRequest:
    """Somebody who owes a review."""

    typename, as_code_owner = "ReviewRequest", False

    def __init__(self, login: str, pull: PullRequest) -> None:
        self.database_id = number_of(f"{pull.id}/{login}") % 2_000_000_000
        self.id, self.pull_request = node_id("RR", self.database_id), pull
        self.requested_reviewer = reviewer(login)


class _Written:
    """What comments and reviews share."""

    author_association, last_edited_at, is_minimized = "MEMBER", None, False

    def __init__(self, number: int, at: Any, author: Person, body: str) -> None:
        self.database_id, self.full_database_id = number, str(number)
        self.author, self.body, self.body_text = account(author), body, body
        self.created_at = self.published_at = self.updated_at = iso_seconds(at)


class IssueComment(_Written):
    """A comment below a pull request or an issue."""

    typename = "IssueComment"

    def __init__(self, remark: st.Remark, subject: _Subject) -> None:
        super().__init__(remark.id, remark.at, remark.author, remark.body)
        self.id, self._subject, self.repository = node_id("IC", remark.id), subject, subject.repository
        self.url = f"{subject.url}#issuecomment-{remark.id}"
        self.pull_request = subject if isinstance(subject, PullRequest) else None

    @property
    def issue(self) -> Issue:
        """To GitHub a pull request is an issue too."""
        return self._subject if isinstance(self._subject, Issue) else AsIssue(self._subject.it, self.repository)


class AsIssue(Issue):
    """A pull request where the schema wants an issue."""

    path = "pull"

    def __init__(self, it: Any, repository: Repository) -> None:
        super().__init__(it, repository)
        self.state = "CLOSED" if it.closed_at else "OPEN"

    @property
    def state_reason(self) -> str | None:
        """None."""
        return None


class Review(_Written):
    """A submitted review."""

    typename = "PullRequestReview"

    def __init__(self, review: st.Review, pull: PullRequest) -> None:
        super().__init__(review.id, review.at, review.author, review.body)
        self._review, self.pull_request, self.state = review, pull, review.state
        self.id, self.submitted_at = node_id("PRR", review.id), self.created_at
        self.url = f"{pull.url}#pullrequestreview-{review.id}"

    @property
    def commit(self) -> Commit:
        """What was reviewed."""
        return self.pull_request.repository.commit(self._review.oid)

    def comments(self, info: Any, **given: Any) -> Connection:
        """On lines, as part of it."""
        rows = self.pull_request.thread_comments.get(self._review.id, [])
        return Connection(
            rows,
            lambda row: ReviewComment(row[1], row[0], self.pull_request),
            lambda row: (row[1].id,),
            **paging(given),
        )


class Thread:
    """What was said about a line."""

    typename, subject_type, diff_side = "PullRequestReviewThread", "LINE", "RIGHT"

    def __init__(self, thread: st.Thread, pull: PullRequest) -> None:
        self._thread, self.pull_request, self.repository = thread, pull, pull.repository
        self.id, self.path, self.line = node_id("PRRT", thread.id), thread.path, thread.line
        self.original_line, self.is_outdated = thread.line, thread.oid != pull.pull.head
        self.is_resolved = self.is_collapsed = thread.resolved_by is not None
        self.resolved_by = account(thread.resolved_by) if thread.resolved_by else None

    def comments(self, info: Any, **given: Any) -> Connection:
        """Oldest first."""
        rows = self._thread.comments
        return Connection(
            rows, lambda c: ReviewComment(c, self._thread, self.pull_request), lambda c: (c.id,), **paging(given)
        )


class ReviewComment(_Written):
    """A comment on a line."""

    typename, state, subject_type = "PullRequestReviewComment", "SUBMITTED", "LINE"
    diff_hunk = "@@ -1,3 +1,4 @@\n+new"

    def __init__(self, remark: st.ThreadRemark, thread: st.Thread, pull: PullRequest) -> None:
        super().__init__(remark.id, remark.at, remark.author, remark.body)
        self._remark, self._thread, self.pull_request, self.repository = remark, thread, pull, pull.repository
        self.id, self.path, self.line = node_id("PRRC", remark.id), thread.path, thread.line
        self.original_line, self.outdated = thread.line, thread.oid != pull.pull.head
        self.url = f"{pull.url}#discussion_r{remark.id}"

    @property
    def commit(self) -> Commit:
        """What it is about."""
        return self.repository.commit(self._thread.oid)

    @property
    def original_commit(self) -> Commit:
        """What it was about."""
        return self.commit

    @property
    def pull_request_review(self) -> Review:
        """The review it is part of."""
        return Review(self._remark.review, self.pull_request)

    @property
    def reply_to(self) -> ReviewComment | None:
        """The first of its thread."""
        return ReviewComment(self._remark.to, self._thread, self.pull_request) if self._remark.to else None
