"""GitHub at a moment: the events so far folded into repositories and all that is in them.

Every lookup that an API makes (a repository's pull requests, a commit's checks, a node by its id) is a dictionary here,
so that large worlds are served as fast as small ones. Ids are given in order of arrival.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from forge_demo import events as ev
from forge_demo import github_events as gh
from forge_demo import organisation as org
from forge_demo.github_places import ACCOUNTS, APPS, CREATED_AT, PLACES, App, Place, node_id
from forge_demo.github_things import (
    Check,
    CommitStatus,
    Deployment,
    Issue,
    PullRequest,
    Release,
    Remark,
    Repo,
    Review,
    Suite,
    Tag,
    Thread,
    ThreadRemark,
    WorkflowRun,
)


def _origin(place: Place) -> ev.Commit:
    at = datetime.fromisoformat(CREATED_AT)
    oid = hashlib.sha256(f"origin/{place.key}".encode()).hexdigest()[:40]
    return ev.Commit(oid, org.PLATFORM.lead.login, at, at, "Start", 0, 0)


class Hub:
    """Everything in GitHub. `names` holds old addresses too (in lower case)."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.names: dict[str, Repo] = {}
        self.pulls: dict[str, PullRequest] = {}
        self.issues: dict[str, Issue] = {}
        self.runs: dict[str, WorkflowRun] = {}
        self.deployments: dict[str, Deployment] = {}
        self.nodes: dict[str, Any] = {}
        self._releases: dict[str, Release] = {}
        self._suites: dict[str, Suite] = {}
        self._checks: dict[str, Check] = {}
        self._active: dict[tuple[str, str], list[Deployment]] = {}
        self._counters: dict[str, int] = {}
        for place in PLACES.values():
            origin = _origin(place)
            repo = Repo(place, org.ORGANISATION, place.key, origin.oid, archived=place.archived)
            if not place.empty:
                repo.commits[origin.oid] = origin
                repo.landed.append(origin.oid)
            self.repos[place.key] = self.nodes[repo.node_id] = repo
            self.names[repo.full_name.lower()] = repo

    def apply(self, event: ev.Event) -> None:
        """Fold one event in; events come in order of time. What is not GitHub's changes nothing."""
        change = _CHANGES.get(type(event))
        if change is not None:
            change(self, event)

    def of_owner(self, owner: str) -> list[Repo]:
        """Its repositories, by name."""
        return sorted((r for r in self.repos.values() if r.owner == owner), key=lambda r: r.name)

    def subject(self, ref: str) -> PullRequest | Issue:
        """The pull request or issue that events name so. Raises KeyError."""
        return self.pulls.get(ref) or self.issues[ref]

    def _next(self, what: str, base: int = 0) -> int:
        self._counters[what] = self._counters.get(what, base) + 1
        return self._counters[what]

    def _in(self, key: str) -> Repo | None:
        """The repository of an event, which changes by it; None once it is deleted."""
        repo = self.repos.get(key)
        if repo is not None:
            repo.changes += 1
        return repo

    def _touch(self, ref: str, event: ev.Event) -> Any:
        """The subject of an event, updated by it; None when it is gone."""
        subject: PullRequest | Issue | None = self.pulls.get(ref) or self.issues.get(ref)
        if subject is not None:
            subject.repo.changes += 1
            subject.updated_at = event.at
            subject.timeline.append((self._next("event", 14_000_000_000), event))
        return subject

    def _learn(self, repo: Repo, commits: tuple[ev.Commit, ...], at: datetime) -> None:
        for commit in commits:
            repo.commits[commit.oid] = commit
            self.nodes[node_id("C", commit.oid)] = repo, commit
        repo.pushed_at = at

    # Repositories

    def _repository_renamed(self, event: gh.RepositoryRenamed) -> None:
        if (repo := self._in(event.repository)) is not None:
            repo.owner, repo.name, repo.updated_at = event.owner, event.name, event.at
            self.names[repo.full_name.lower()] = repo

    def _repository_deleted(self, event: gh.RepositoryDeleted) -> None:
        if (repo := self.repos.pop(event.repository, None)) is None:
            return
        self.names = {name: found for name, found in self.names.items() if found is not repo}
        self.nodes = {key: found for key, found in self.nodes.items() if _place_of(found) is not repo}
        for held in (self.pulls, self.issues, self.runs, self.deployments):
            for ref in [ref for ref, it in held.items() if it.repo is repo]:
                del held[ref]

    def _landed(self, event: gh.CommitLanded) -> None:
        if (repo := self._in(event.repository)) is not None:
            self._land(repo, event.commit, event.at)

    def _land(self, repo: Repo, commit: ev.Commit, at: datetime) -> None:
        self._learn(repo, (commit,), at)
        repo.head, repo.updated_at = commit.oid, at
        repo.landed.append(commit.oid)

    def _tag_created(self, event: gh.TagCreated) -> None:
        if (repo := self._in(event.repository)) is not None:
            repo.tags[event.name] = Tag(event, repo)
            repo.pushed_at = event.at

    def _release_created(self, event: gh.ReleaseCreated) -> None:
        if (repo := self._in(event.repository)) is not None:
            published = None if event.draft else event.at
            id_ = self._next("release", 190_000_000)
            release = Release(event, repo, id_, event.body, event.draft, published, event.at)
            repo.releases[event.release] = self._releases[event.release] = release
            self.nodes[node_id("RE", id_)] = release

    def _release_edited(self, event: gh.ReleaseEdited) -> None:
        if (release := self._releases.get(event.release)) is not None:
            release.repo.changes += 1
            release.body, release.updated_at, release.draft = event.body, event.at, False
            release.published_at = release.published_at or event.at

    def _removed(self, event: gh.Removed) -> None:
        repo = self._in(event.repository)
        if repo is None:
            return
        if event.kind == "tag":
            repo.tags.pop(event.of, None)
        elif event.kind == "release":
            repo.releases.pop(event.of, None)
            self._forget("RE", self._releases.pop(event.of, None))
        elif event.kind == "pull_request" and (pull := self.pulls.pop(event.of, None)):
            repo.pulls.pop(pull.number)
            self._forget("PR", pull)
            for review in pull.reviews:
                self._forget("PRR", review)
        elif event.kind == "issue" and (issue := self.issues.pop(event.of, None)):
            repo.issues.pop(issue.number)
            self._forget("I", issue)
            for pull in repo.pulls.values():
                pull.issues = [one for one in pull.issues if one is not issue]
        elif event.kind == "deployment" and (deployment := self.deployments.pop(event.of, None)):
            repo.deployments.pop(deployment.id)
            self._forget("DE", deployment)
        elif event.kind == "run" and (run := self.runs.pop(event.of, None)):
            repo.runs.pop(run.id)
            self._forget("WFR", run)
            if run.suite:
                repo.suites[run.suite.sha].remove(run.suite)
        elif event.kind == "comment":
            for subject in (*repo.pulls.values(), *repo.issues.values()):
                left = [remark for remark in subject.comments if str(remark.id) != event.of]
                if len(left) < len(subject.comments):
                    subject.comments, subject.updated_at = left, event.at
                    subject.timeline = [
                        (id_, e)
                        for id_, e in subject.timeline
                        if not (isinstance(e, gh.Commented) and id_ == int(event.of))
                    ]

    def _forget(self, prefix: str, it: Any) -> None:
        if it is not None:
            self.nodes.pop(node_id(prefix, it.id), None)

    # Issues

    def _issue_opened(self, event: gh.IssueOpened) -> None:
        if (repo := self._in(event.repository)) is None:
            return
        issue = Issue(
            repo=repo,
            number=self._next(f"number/{event.repository}"),
            id=self._next("issue", 2_600_000_000),
            title=event.title,
            body=event.body,
            author=ACCOUNTS[event.author],
            created_at=event.at,
            updated_at=event.at,
            labels=list(event.labels),
            opened=event,
        )
        self.issues[event.ref] = repo.issues[issue.number] = self.nodes[issue.node_id] = issue

    def _issue_closed(self, event: gh.IssueClosed) -> None:
        if (issue := self._touch(event.ref, event)) is not None:
            issue.closed = event

    def _linked(self, event: gh.IssueLinked) -> None:
        pull, issue = self._touch(event.ref, event), self.issues.get(event.issue)
        if pull is not None and issue is not None:
            pull.issues.append(issue)

    # Pull requests and issues

    def _opened(self, event: ev.PullRequestOpened) -> None:
        if (repo := self._in(event.repository)) is None:
            return
        pull = PullRequest(
            repo=repo,
            number=self._next(f"number/{event.repository}"),
            id=self._next("pull", 2_100_000_000),
            title=event.title,
            body=event.body,
            author=ACCOUNTS[event.author],
            created_at=event.at,
            updated_at=event.at,
            labels=list(event.labels),
            opened=event,
            draft=event.draft,
            commits=list(event.commits),
            files=event.files,
        )
        self.pulls[event.ref] = repo.pulls[pull.number] = self.nodes[pull.node_id] = pull
        self._learn(repo, event.commits, event.at)

    def _pushed(self, event: ev.CommitsPushed) -> None:
        if (pull := self._touch(event.ref, event)) is not None:
            pull.commits += event.commits
            pull.files += event.files
            self._learn(pull.repo, event.commits, event.at)

    def _force_pushed(self, event: gh.HeadForcePushed) -> None:
        if (pull := self._touch(event.ref, event)) is not None:
            pull.commits = list(event.commits)
            self._learn(pull.repo, event.commits, event.at)

    def _ready(self, event: ev.ReadyForReview) -> None:
        if (pull := self._touch(event.ref, event)) is not None:
            pull.draft = False

    def _drafted(self, event: gh.ConvertedToDraft) -> None:
        if (pull := self._touch(event.ref, event)) is not None:
            pull.draft = True

    def _requested(self, event: ev.ReviewRequested) -> None:
        pull = self._touch(event.ref, event)
        if pull is not None and event.reviewer not in pull.requested:
            pull.requested.append(event.reviewer)

    def _request_removed(self, event: gh.ReviewRequestRemoved) -> None:
        pull = self._touch(event.ref, event)
        if pull is not None and event.reviewer in pull.requested:
            pull.requested.remove(event.reviewer)

    def _reviewed(self, event: ev.ReviewSubmitted) -> None:
        if (pull := self._touch(event.ref, event)) is None:
            return
        if event.author in pull.requested:
            pull.requested.remove(event.author)
        self._review(pull, event.at, event.author, event.state, event.body)

    def _review(self, pull: PullRequest, at: datetime, author: str, state: str, body: str) -> Review:
        review = Review(self._next("review", 1_900_000_000), at, ACCOUNTS[author], state, body, pull.head)
        pull.reviews.append(review)
        self.nodes[node_id("PRR", review.id)] = pull, review
        return review

    def _thread_commented(self, event: gh.ThreadCommented) -> None:
        if (pull := self._touch(event.ref, event)) is None:
            return
        thread = pull.threads.get(event.thread)
        if thread is None:
            thread = Thread(self._next("thread", 700_000_000), event.path, event.line, pull.head)
            pull.threads[event.thread] = thread
            self.nodes[node_id("PRRT", thread.id)] = pull, thread
        # A single comment is a review of its own to GitHub, without words.
        alone = None if event.reviewed else self._review(pull, event.at, event.author, "COMMENTED", "")
        review = alone or pull.reviews[-1]
        first = thread.comments[0] if thread.comments else None
        id_ = self._next("thread comment", 1_700_000_000)
        thread.comments.append(ThreadRemark(id_, event.at, ACCOUNTS[event.author], event.body, review, first))

    def _thread_resolved(self, event: gh.ThreadResolved) -> None:
        pull = self.pulls.get(event.ref)
        if pull is not None and (thread := pull.threads.get(event.thread)) is not None:
            pull.repo.changes += 1
            pull.updated_at, thread.resolved_by = event.at, ACCOUNTS[event.actor]

    def _commented(self, event: gh.Commented) -> None:
        if (subject := self._touch(event.ref, event)) is not None:
            id_ = subject.timeline[-1][0]
            subject.comments.append(Remark(id_, event.at, ACCOUNTS[event.author], event.body))

    def _labeled(self, event: ev.Labeled) -> None:
        subject = self._touch(event.ref, event)
        if subject is not None and event.label not in subject.labels:
            subject.labels.append(event.label)

    def _unlabeled(self, event: gh.Unlabeled) -> None:
        subject = self._touch(event.ref, event)
        if subject is not None and event.label in subject.labels:
            subject.labels.remove(event.label)

    def _assigned(self, event: gh.Assigned) -> None:
        if (subject := self._touch(event.ref, event)) is None:
            return
        person = ACCOUNTS[event.assignee]
        if event.assigned and person not in subject.assignees:
            subject.assignees.append(person)
        elif not event.assigned and person in subject.assignees:
            subject.assignees.remove(person)

    def _milestoned(self, event: gh.Milestoned) -> None:
        if (subject := self._touch(event.ref, event)) is not None:
            subject.milestone = event.milestone

    def _retitled(self, event: gh.Retitled) -> None:
        if (subject := self._touch(event.ref, event)) is not None:
            subject.title = event.title

    def _body_edited(self, event: gh.BodyEdited) -> None:
        if (subject := self._touch(event.ref, event)) is not None:
            subject.timeline.pop()  # GitHub's timeline does not tell it
            subject.body = event.body

    def _merged(self, event: ev.PullRequestMerged) -> None:
        if (pull := self._touch(event.ref, event)) is None:
            return
        pull.merged = event
        added, deleted = sum(c.additions for c in pull.commits), sum(c.deletions for c in pull.commits)
        title = f"{pull.title} (#{pull.number})"
        self._land(pull.repo, ev.Commit(event.sha, event.actor, event.at, event.at, title, added, deleted), event.at)

    def _closed(self, event: ev.PullRequestClosed) -> None:
        if (pull := self._touch(event.ref, event)) is not None:
            pull.closed = event

    def _reopened(self, event: gh.Reopened) -> None:
        if (subject := self._touch(event.ref, event)) is not None:
            subject.closed = None
            if isinstance(subject, Issue):
                subject.reopened = True

    # Checks

    def _run_started(self, event: ev.WorkflowRunStarted) -> None:
        if (repo := self._in(event.repository)) is None:
            return
        known = self.runs.get(event.run)
        if known is not None:
            known.started = replace(event, sha=known.started.sha)
            known.updated_at, known.conclusion = event.at, None
            return
        event = replace(event, sha=event.sha or repo.head)
        id_, number = self._next("run", 9_000_000_000), self._next(f"run/{event.repository}/{event.name}")
        run = WorkflowRun(event, repo, event.at, id_, number, event.at)
        run.pull = self.pulls.get(event.ref or "")
        run.suite = self._suite(repo, event.sha, event.branch, APPS["github-actions"], event.at, id_ + 1_000_000_000)
        run.suite.run = run
        self.runs[event.run] = repo.runs[id_] = self.nodes[node_id("WFR", id_)] = run

    def _run_completed(self, event: ev.WorkflowRunCompleted) -> None:
        if (run := self.runs.get(event.run)) is not None:
            run.repo.changes += 1
            run.updated_at, run.conclusion = event.at, event.conclusion

    def _suite(self, repo: Repo, sha: str, branch: str, app: App, at: datetime, id_: int) -> Suite:
        suite = Suite(id_, repo, sha, branch, app, at)
        repo.suites.setdefault(sha, []).append(suite)
        self.nodes[node_id("CS", id_)] = suite
        return suite

    def _job_started(self, event: gh.JobStarted) -> None:
        run = self.runs.get(event.run)
        if run is not None and run.suite is not None:
            self._check(event.job, run.suite, event.name, event.at, event.attempt, event.runner)

    def _check(self, key: str, suite: Suite, name: str, at: datetime, attempt: int, runner: str | None) -> None:
        suite.repo.changes += 1
        check = Check(self._next("check", 26_000_000_000), suite, name, at, attempt, runner)
        suite.checks.append(check)
        self._checks[key] = self.nodes[node_id("CR", check.id)] = check

    def _job_completed(self, event: gh.JobCompleted) -> None:
        self._complete(event.job, event.at, event.conclusion, event.steps)

    def _complete(self, key: str, at: datetime, conclusion: str, steps: tuple[gh.Step, ...]) -> None:
        if (check := self._checks.get(key)) is not None:
            check.suite.repo.changes += 1
            check.completed_at, check.conclusion, check.steps = at, conclusion, steps

    def _check_started(self, event: gh.CheckStarted) -> None:
        if (repo := self._in(event.repository)) is None:
            return
        suite = self._suites.get(event.suite)
        if suite is None:
            id_ = self._next("suite", 60_000_000_000)
            suite = self._suite(repo, event.sha, event.branch, APPS[event.app], event.at, id_)
            self._suites[event.suite] = suite
        self._check(event.check, suite, event.name, event.at, 1, None)

    def _check_completed(self, event: gh.CheckCompleted) -> None:
        self._complete(event.check, event.at, event.conclusion, ())

    def _status_set(self, event: gh.CommitStatusSet) -> None:
        if (repo := self._in(event.repository)) is not None:
            status = CommitStatus(self._next("commit status", 30_000_000_000), event)
            repo.statuses.setdefault(event.sha, {})[event.context] = status

    # Deployments

    def _deployment_created(self, event: ev.DeploymentCreated) -> None:
        if (repo := self._in(event.repository)) is not None:
            deployment = Deployment(event, repo, self._next("deployment", 1_200_000_000), event.at)
            self.deployments[event.deployment] = repo.deployments[deployment.id] = deployment
            self.nodes[node_id("DE", deployment.id)] = deployment

    def _deployment_status(self, event: ev.DeploymentStatusCreated) -> None:
        deployment = self.deployments.get(event.deployment)
        if deployment is None:
            return
        self._set(deployment, event)
        if event.state == "success" and deployment.created.environment != "production":
            # auto_inactive: a new success ends the prior ones of its environment, production aside. An event that is
            # seen late ends none that was created after it, and none before what is known of it.
            active = self._active.setdefault((deployment.repo.place.key, deployment.created.environment), [])
            prior = [other for other in active if other.created.at <= deployment.created.at]
            for other in prior:
                at = max(event.at, other.updated_at)
                self._set(other, replace(event, at=at, deployment=other.created.deployment, state="inactive"))
            active[:] = [*(other for other in active if other not in prior), deployment]

    def _set(self, deployment: Deployment, event: ev.DeploymentStatusCreated) -> None:
        deployment.repo.changes += 1
        deployment.updated_at = event.at
        deployment.statuses.append((self._next("deployment status", 3_300_000_000), event))


def _place_of(found: Any) -> Repo:
    """The repository that a node is in (or is)."""
    if isinstance(found, tuple):
        found = found[0]
    if isinstance(found, Repo):
        return found
    repo: Repo = found.suite.repo if isinstance(found, Check) else found.repo
    return repo


_CHANGES: dict[type[ev.Event], Callable[[Hub, Any], None]] = {
    gh.RepositoryRenamed: Hub._repository_renamed,
    gh.RepositoryDeleted: Hub._repository_deleted,
    gh.CommitLanded: Hub._landed,
    gh.TagCreated: Hub._tag_created,
    gh.ReleaseCreated: Hub._release_created,
    gh.ReleaseEdited: Hub._release_edited,
    gh.Removed: Hub._removed,
    gh.IssueOpened: Hub._issue_opened,
    gh.IssueClosed: Hub._issue_closed,
    gh.IssueLinked: Hub._linked,
    ev.PullRequestOpened: Hub._opened,
    ev.CommitsPushed: Hub._pushed,
    gh.HeadForcePushed: Hub._force_pushed,
    ev.ReadyForReview: Hub._ready,
    gh.ConvertedToDraft: Hub._drafted,
    ev.ReviewRequested: Hub._requested,
    gh.ReviewRequestRemoved: Hub._request_removed,
    ev.ReviewSubmitted: Hub._reviewed,
    gh.ThreadCommented: Hub._thread_commented,
    gh.ThreadResolved: Hub._thread_resolved,
    gh.Commented: Hub._commented,
    ev.Labeled: Hub._labeled,
    gh.Unlabeled: Hub._unlabeled,
    gh.Assigned: Hub._assigned,
    gh.Milestoned: Hub._milestoned,
    gh.Retitled: Hub._retitled,
    gh.BodyEdited: Hub._body_edited,
    ev.PullRequestMerged: Hub._merged,
    ev.PullRequestClosed: Hub._closed,
    gh.Reopened: Hub._reopened,
    ev.WorkflowRunStarted: Hub._run_started,
    ev.WorkflowRunCompleted: Hub._run_completed,
    gh.JobStarted: Hub._job_started,
    gh.JobCompleted: Hub._job_completed,
    gh.CheckStarted: Hub._check_started,
    gh.CheckCompleted: Hub._check_completed,
    gh.CommitStatusSet: Hub._status_set,
    ev.DeploymentCreated: Hub._deployment_created,
    ev.DeploymentStatusCreated: Hub._deployment_status,
}
