"""What GitHub sees of a story beside what the story itself tells: jobs and checks, talk, labels, second thoughts.

The story's events stay as they are. Everything here is thrown with dice of its own, seeded by the pull request or the
run, so that a new chance here changes no story, and no story changes a chance here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from operator import attrgetter

from forge_demo import events as ev
from forge_demo import github_events as gh
from forge_demo import organisation as org
from forge_demo.github_places import COVERAGE_BOT, GHOST, MILESTONES, TEAM_REVIEWERS
from forge_demo.organisation import Team
from forge_demo.pen import Pen

JOBS = {
    "lint": ("lint",),
    "tests": ("unit (3.11)", "unit (3.12)", "integration", "publish"),
    "deploy": ("build", "deploy"),
    "nightly": ("soak", "dependency audit"),
}
_BY_TIME = attrgetter("at")
_REMARKS = (
    "Could you rebase? CI was flaky on `main`.",
    "מעולה, תודה! (RTL) \u202bשלום\u202c",
    "Nice 👩🏽‍💻🎉 — ship it",
    "Combining: e\u0301 n\u0303 Z\u0351\u036b; astral: 𝔉𝔬𝔯𝔤𝔢 𓀀",
    "> quoted\n\nSee the [design](https://docs.acme-robotics.example/design).\n\n```python\nassert True\n```",
    "/retest",
)
_LINES = ("nit: naming", "This can be `None` here.", "What happens when the list is empty? 🤔", "Résumé: fine ✅")


def lived(told: list[ev.Event], seed: str) -> list[ev.Event]:
    """The events of a story with what GitHub adds, in order of time."""
    refs: dict[str, list[ev.Event]] = {}
    for event in told:
        ref = getattr(event, "ref", None)
        if ref is not None and not isinstance(event, ev.WorkflowRunStarted):
            refs.setdefault(ref, []).append(event)
    begin = min(event.at for event in told)
    added: list[ev.Event] = []
    replaced: dict[int, ev.Event] = {}
    for ref, events in refs.items():
        life = _Pull(Pen(f"{seed}/github/{ref}", begin), sorted(events, key=_BY_TIME), begin)
        added += life.added
        if life.reopened_as is not None:
            replaced[id(life.opened)] = life.reopened_as
    added += _checks(told, seed)
    return sorted((*(replaced.get(id(e), e) for e in told), *added), key=_BY_TIME)


class _Pull:
    """What else happens to one pull request."""

    def __init__(self, pen: Pen, events: list[ev.Event], begin: datetime) -> None:
        self.pen, self.events, self.begin = pen, events, begin
        self.opened = next(e for e in events if isinstance(e, ev.PullRequestOpened))
        self.reopened_as: ev.PullRequestOpened | None = None
        self.ref, self.ticket, self.author = self.opened.ref, self.opened.ticket, self.opened.author
        self.team = next(t for t in org.TEAMS if self.opened.repository in t.repositories)
        self.last = events[-1].at
        self.added: list[ev.Event] = []
        self._rewritten()
        self._belongings()
        self._second_thoughts()
        self._talk()
        self._external_checks()

    def _at(self, low: float = 0.05, high: float = 0.95) -> datetime:
        """A moment of its life, between these parts of it."""
        span = (self.last - self.opened.at).total_seconds()
        part = low + (high - low) * self.pen.number(0, 1000) / 1000
        return self.opened.at + timedelta(seconds=int(span * part) + 2)

    def _person(self) -> str:
        return self.pen.one_of((*self.team.members, self.team.lead)).login

    def _rewritten(self) -> None:
        """The branch was pushed, seen to be wrong, and pushed again by force, before anything looked at it."""
        if not self.pen.chance(0.12):
            return
        first = tuple(
            replace(c, oid=hashlib.sha256(f"{c.oid}/before".encode()).hexdigest()[:40]) for c in self.opened.commits
        )
        self.reopened_as = replace(self.opened, commits=first)
        at, actor = self.opened.at, self.author
        run, job = self.pen.uuid(), self.pen.uuid()
        self.added += [
            ev.WorkflowRunStarted(
                at,
                self.ticket,
                run,
                self.opened.repository,
                "lint",
                self.ref,
                first[-1].oid,
                self.opened.branch,
                actor,
                1,
            ),
            gh.JobStarted(at, self.ticket, job, run, "lint", 1, None),
            gh.HeadForcePushed(
                at + timedelta(seconds=1), self.ticket, self.ref, actor, first[-1].oid, self.opened.commits
            ),
            gh.JobCompleted(at + timedelta(seconds=2), self.ticket, job, "cancelled", ()),
            ev.WorkflowRunCompleted(at + timedelta(seconds=2), self.ticket, run, "cancelled"),
        ]

    def _belongings(self) -> None:
        pen, ref, ticket = self.pen, self.ref, self.ticket
        if pen.chance(0.4):
            who = self._person()
            at = self.opened.at + timedelta(seconds=pen.number(2, 40))
            self.added.append(gh.Assigned(at, ticket, ref, self.author, who))
            if pen.chance(0.2):
                self.added.append(gh.Assigned(self._at(0.3), ticket, ref, self._person(), who, assigned=False))
        if pen.chance(0.2):
            self.added.append(gh.Milestoned(self._at(), ticket, ref, self._person(), pen.one_of(MILESTONES)))
        if pen.chance(0.15):
            at = self._at(0.0, 0.5)
            self.added.append(ev.Labeled(at, ticket, ref, self._person(), "needs-triage"))
            self.added.append(
                gh.Unlabeled(at + timedelta(minutes=pen.number(1, 50)), ticket, ref, self._person(), "needs-triage")
            )
        if ticket is not None and pen.chance(0.15):
            issue, actor = f"{ref}/issue", pen.one_of((self._person(), GHOST.login))
            at = max(self.begin, self.opened.at - timedelta(hours=pen.number(1, 60)))
            title = f"{self.opened.title.partition(': ')[2]} does not work ({ticket})"
            body = "Steps:\n1. open\n2. wait\n\nExpected ✅, found ❌"
            self.added += [
                gh.IssueOpened(_whole(at), None, issue, self.opened.repository, actor, title, body, ("bug",)),
                gh.IssueLinked(self.opened.at + timedelta(seconds=3), ticket, ref, self.author, issue),
            ]
            merged = next((e for e in self.events if isinstance(e, ev.PullRequestMerged)), None)
            if merged:
                self.added.append(gh.IssueClosed(merged.at, None, issue, merged.actor, "COMPLETED", ref))

    def _second_thoughts(self) -> None:
        pen, ref, ticket = self.pen, self.ref, self.ticket
        if pen.chance(0.06):
            self.added.append(gh.Retitled(self._at(), ticket, ref, self.author, f"{self.opened.title} (again)"))
        if pen.chance(0.1):
            self.added.append(gh.BodyEdited(self._at(), ticket, ref, self.author, f"{self.opened.body}\n\nEdited ✏️"))
        ready = next((e for e in self.events if isinstance(e, ev.ReadyForReview)), None)
        if not self.opened.draft and ready is None and pen.chance(0.08):
            at = self._at(0.0, 0.4)
            back = at + timedelta(seconds=pen.number(20, 200))
            self.added += [
                gh.ConvertedToDraft(at, ticket, ref, self.author),
                ev.ReadyForReview(back, ticket, ref, self.author),
            ]
        if pen.chance(0.12):
            at = self._at(0.0, 0.5)
            who = pen.one_of((self._person(), next(n for n, t in TEAM_REVIEWERS.items() if t is self.team)))
            if who != self.author and not any(
                isinstance(e, ev.ReviewRequested) and e.reviewer == who for e in self.events
            ):
                self.added.append(ev.ReviewRequested(at, ticket, ref, self.author, who))
                if pen.chance(0.6):
                    away = at + timedelta(minutes=pen.number(1, 300))
                    self.added.append(gh.ReviewRequestRemoved(away, ticket, ref, self.author, who))
        end = next((e for e in self.events if isinstance(e, (ev.PullRequestMerged, ev.PullRequestClosed))), None)
        if end is not None and pen.chance(0.08):
            span = (end.at - self.opened.at).total_seconds()
            if span > 120:
                at = self.opened.at + timedelta(seconds=int(span * pen.number(20, 60) / 100))
                back = at + timedelta(seconds=int((end.at - at).total_seconds() * pen.number(10, 80) / 100))
                self.added += [
                    ev.PullRequestClosed(at, ticket, ref, self._person()),
                    gh.Reopened(back, ticket, ref, self.author),
                ]

    def _talk(self) -> None:
        pen, ref, ticket = self.pen, self.ref, self.ticket
        for _ in range(pen.weighted({0: 5, 1: 3, 2: 2, 4: 1})):
            author = pen.weighted({self._person(): 8, self.author: 3, COVERAGE_BOT.login: 2, GHOST.login: 1})
            self.added.append(gh.Commented(self._at(0.02, 1.1), ticket, ref, author, pen.one_of(_REMARKS)))
        for review in [e for e in self.events if isinstance(e, ev.ReviewSubmitted) and e.state != "APPROVED"]:
            for _ in range(pen.number(0, 2)):
                thread, line = pen.uuid(), pen.number(1, 400)
                path = pen.one_of(("src/app.py", "src/größe/données.py", "README.md", "web/地图.ts"))
                self.added.append(
                    gh.ThreadCommented(
                        review.at, ticket, ref, thread, review.author, pen.one_of(_LINES), path, line, True
                    )
                )
                at = review.at
                for _ in range(pen.number(0, 2)):
                    at += timedelta(minutes=pen.number(1, 90))
                    who = pen.one_of((self.author, review.author))
                    self.added.append(
                        gh.ThreadCommented(at, ticket, ref, thread, who, pen.one_of(_LINES), path, line, False)
                    )
                if pen.chance(0.6):
                    self.added.append(gh.ThreadResolved(at + timedelta(minutes=2), ticket, ref, thread, review.author))

    def _external_checks(self) -> None:
        """Coverage by an app, and a legacy status, on each head that was pushed."""
        heads = [
            (e.at, e.commits[-1].oid) for e in self.events if isinstance(e, (ev.PullRequestOpened, ev.CommitsPushed))
        ]
        for at, sha in heads:
            self.added += external_checks(self.pen, at, self.ticket, self.opened.repository, sha, self.opened.branch)


def _whole(at: datetime) -> datetime:
    """The next whole second."""
    return at if at.microsecond == 0 else at.replace(microsecond=0) + timedelta(seconds=1)


def external_checks(
    pen: Pen, at: datetime, ticket: str | None, repository: str, sha: str, branch: str
) -> Iterator[ev.Event]:
    """What reports on a commit beside Actions."""
    begin = at + timedelta(seconds=pen.number(20, 200))
    if pen.chance(0.6):
        suite = pen.uuid()
        for name in ("codecov/patch", "codecov/project"):
            check, ends = pen.uuid(), begin + timedelta(seconds=pen.number(5, 400))
            verdict = pen.weighted({"success": 7, "neutral": 2, "failure": 2, "skipped": 1})
            yield gh.CheckStarted(begin, ticket, check, suite, repository, sha, branch, "codecov", name)
            if not pen.chance(0.02):  # some never end
                yield gh.CheckCompleted(ends, ticket, check, verdict)
    if pen.chance(0.35):
        ends = begin + timedelta(seconds=pen.number(30, 900))
        state = pen.weighted({"success": 8, "failure": 2, "error": 1})
        actor = org.PLATFORM.lead.login
        yield gh.CommitStatusSet(begin, ticket, repository, sha, "ci/jenkins", "pending", actor)
        yield gh.CommitStatusSet(ends, ticket, repository, sha, "ci/jenkins", state, actor)


def _checks(told: list[ev.Event], seed: str) -> Iterator[ev.Event]:
    """The jobs of every attempt of the workflow runs, and the queue before each deployment."""
    attempts: dict[str, list[ev.WorkflowRunStarted]] = {}
    for event in told:
        if isinstance(event, ev.WorkflowRunStarted):
            attempts.setdefault(event.run, []).append(event)
        elif isinstance(event, ev.WorkflowRunCompleted):
            started = attempts[event.run][-1]
            yield from jobs(Pen(f"{seed}/jobs/{event.run}/{started.attempt}", started.at), started, event)
        elif isinstance(event, ev.DeploymentCreated):
            yield ev.DeploymentStatusCreated(event.at, event.ticket, event.deployment, "queued", event.actor)


def jobs(pen: Pen, started: ev.WorkflowRunStarted, ended: ev.WorkflowRunCompleted) -> Iterator[ev.Event]:
    """The jobs of one attempt, which lie within it; the last of them is skipped when one before it failed."""
    names = JOBS[started.name]
    span = int((ended.at - started.at).total_seconds())
    culprit = pen.number(0, max(0, len(names) - 2)) if ended.conclusion == "failure" else None
    for index, name in enumerate(names):
        job = pen.uuid()
        skipped = name == "publish" and (started.branch != "main" or culprit is not None)
        begin = ended.at if skipped else started.at + timedelta(seconds=min(span, pen.number(1, 3)))
        length = max(0, int((ended.at - begin).total_seconds()))
        end = (
            ended.at if index == culprit or skipped else begin + timedelta(seconds=length * pen.number(40, 100) // 100)
        )
        conclusion = "skipped" if skipped else "failure" if index == culprit else "success"
        runner = None if skipped else f"ubuntu-24.04-{pen.number(1, 40)}"
        yield gh.JobStarted(begin, started.ticket, job, started.run, name, started.attempt, runner)
        yield gh.JobCompleted(end, started.ticket, job, conclusion, () if skipped else _steps(begin, end, conclusion))


def _steps(begin: datetime, end: datetime, conclusion: str) -> tuple[gh.Step, ...]:
    middle = begin + timedelta(seconds=int((end - begin).total_seconds()) // 3)
    return (
        gh.Step("Set up job", "success", begin, middle),
        gh.Step("Run", conclusion, middle, end),
        gh.Step("Complete job", "success", end, end),
    )


# What happens without any story


def daily(seed: str, day: datetime, number: int) -> list[ev.Event]:
    """A day on main: nightly runs, releases now and then, issues that have no ticket. `number` counts from 0."""
    found: list[ev.Event] = []
    for team in org.TEAMS:
        for repository in team.repositories:
            pen = Pen(f"{seed}/github/{repository}/{number}", day)
            found += _nightly(pen, day, repository)
            if day.weekday() == 3 and number >= 2:
                found += _release(pen, day, repository, team, number // 7 + 1)
            if pen.chance(0.25):
                found += _issue(pen, day, repository, team, number)
    return found


def _nightly(pen: Pen, day: datetime, repository: str) -> Iterator[ev.Event]:
    pen.now = day
    pen.wait_hours(2, 3)
    run = pen.uuid()
    started = ev.WorkflowRunStarted(
        pen.seconds, None, run, repository, "nightly", None, "", "main", org.PLATFORM.lead.login, 1, "schedule"
    )
    pen.wait_minutes(4, 50)
    ended = ev.WorkflowRunCompleted(pen.seconds, None, run, "success" if pen.chance(0.85) else "failure")
    yield from (started, *jobs(pen, started, ended), ended)


def _release(pen: Pen, day: datetime, repository: str, team: Team, week: int) -> Iterator[ev.Event]:
    pen.now = day
    pen.wait_hours(13, 16)
    version, lead = f"1.{week}.0", team.lead.login
    commit = ev.Commit(pen.sha(), lead, pen.seconds, pen.seconds, f"Release {version}\n\nReviewed-by: {lead}", 3, 3)
    yield gh.CommitLanded(pen.seconds, None, repository, commit)
    pen.wait_seconds(20, 200)
    message = f"Release {version} 🎁" if pen.chance(0.5) else None
    yield gh.TagCreated(pen.seconds, None, repository, f"v{version}", commit.oid, lead, message)
    pen.wait_seconds(5, 60)
    release = pen.uuid()
    notes = f"## What's changed\n* {pen.title()}\n* {pen.title()}"
    name = pen.one_of((f"{version}", f"Sprint {week} – “Zürich”", None))
    draft = pen.chance(0.2)
    yield gh.ReleaseCreated(
        pen.seconds, None, release, repository, f"v{version}", name, notes, lead, draft, pen.chance(0.1)
    )
    if draft or pen.chance(0.2):
        pen.wait_hours(1, 30)
        yield gh.ReleaseEdited(
            pen.seconds, None, release, f"{notes}\n\n**Full changelog**: v1.{week - 1}.0...v{version}"
        )
    if pen.chance(0.2):
        yield gh.TagCreated(pen.seconds, None, repository, f"nightly-{week}", commit.oid, lead, None)


def _issue(pen: Pen, day: datetime, repository: str, team: Team, number: int) -> Iterator[ev.Event]:
    pen.now = day
    pen.wait_hours(5, 20)
    ref, people = f"issue/{repository}/{number}", (*team.members, team.lead)
    author = pen.weighted({pen.one_of(people).login: 8, GHOST.login: 1, org.DEPENDABOT.login: 1})
    key = f" (see {team.project}-{pen.number(1, 9)})" if pen.chance(0.3) else ""
    labels = tuple(pen.sample(("bug", "question", "good first issue", "área/ülke"), pen.number(0, 2)))
    yield gh.IssueOpened(
        pen.seconds, None, ref, repository, author, f"{pen.title()}{key}", pen.one_of(_REMARKS), labels
    )
    for _ in range(pen.number(0, 3)):
        pen.wait_hours(0.2, 30)
        yield gh.Commented(pen.seconds, None, ref, pen.one_of(people).login, pen.one_of(_REMARKS))
    if pen.chance(0.4):
        yield gh.Assigned(pen.wait_minutes(1, 90).seconds, None, ref, team.lead.login, pen.one_of(people).login)
    if pen.chance(0.3):
        yield gh.Milestoned(pen.wait_minutes(1, 90).seconds, None, ref, team.lead.login, pen.one_of(MILESTONES))
    if pen.chance(0.7):
        reason = "COMPLETED" if pen.chance(0.7) else "NOT_PLANNED"
        yield gh.IssueClosed(pen.wait_hours(1, 90).seconds, None, ref, team.lead.login, reason, None)
        if pen.chance(0.2):
            yield gh.Reopened(pen.wait_hours(1, 50).seconds, None, ref, pen.one_of(people).login)
            if pen.chance(0.5):
                yield gh.IssueClosed(pen.wait_hours(1, 50).seconds, None, ref, team.lead.login, "COMPLETED", None)
