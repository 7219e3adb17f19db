"""The story of one ticket, from its creation to its end, as events; pure, by seed.

created -> plan (agent) -> a human approves or rejects -> implement (agent), pull request -> CI, reviews, fixes
        -> merged -> deployed -> sometimes an incident and its revert; or done by people alone; or abandoned, reopened
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from forge_demo import organisation as org
from forge_demo.events import (
    Change,
    CommentAdded,
    Commit,
    CommitsPushed,
    DeploymentCreated,
    DeploymentStatusCreated,
    Event,
    IssueChanged,
    IssueCreated,
    Labeled,
    PullRequestClosed,
    PullRequestMerged,
    PullRequestOpened,
    ReadyForReview,
    ReviewRequested,
    ReviewSubmitted,
    ScoreAdded,
    StageEnded,
    StageQueued,
    StageStarted,
    TraceUpdated,
    WorkflowRunCompleted,
    WorkflowRunStarted,
)
from forge_demo.organisation import Person, Status, Team
from forge_demo.pen import Pen, slug
from forge_demo.traces import stage_trace, trace_cost

ISSUE_ID_BASE = 20_000
MAX_REVIEW_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Brief:
    """What is fixed of a ticket before its story begins."""

    seed: str
    index: int
    team: Team
    key: str
    created_at: datetime
    parent: str | None = None
    issue_type: str | None = None
    summary: str | None = None
    cause: str | None = None


NewKey = Callable[[Team], tuple[int, str]]
"""Gives the next index and key of a team's project: incidents need one of their own."""


def tell(brief: Brief, new_key: NewKey) -> list[Event]:
    """Every event of the ticket (and of the incident it may cause), not yet sorted."""
    return _Story(brief, new_key).events


class _Story:
    """The ticket while its story is told; `pen` holds the clock and the dice."""

    def __init__(self, brief: Brief, new_key: NewKey) -> None:
        self.brief, self.team, self.key, self.new_key = brief, brief.team, brief.key, new_key
        self.pen = Pen(f"{brief.seed}/{brief.index}", brief.created_at)
        self.events: list[Event] = []
        self.status: Status = org.TODO
        self.assignee: Person | None = None
        self.resolution: str | None = None
        self.ref, self.branch, self.head = "", "", ""
        self.runs = self.pull_requests = self.attempts = 0
        self.commits: list[Commit] = []
        self.repository = self.pen.one_of(self.team.repositories)
        self.issue_type = brief.issue_type or self.pen.weighted({"Story": 45, "Bug": 35, "Task": 20})
        self.summary = brief.summary or self.pen.title()
        self._create()
        if self.issue_type == "Epic":
            self._change(self.team.lead, self._to(org.IN_PROGRESS))
        elif self.issue_type == "Incident":
            self._by_people(urgent=True)
        else:
            ways: dict[Callable[[], None], int] = {self._by_agents: 76, self._by_people: 17, self._leave: 7}
            self.pen.weighted(ways)()

    # Jira

    def _create(self) -> None:
        pen, incident = self.pen, self.issue_type == "Incident"
        reporter = pen.one_of((*self.team.members, self.team.lead))
        points = None if incident or pen.chance(0.25) else float(pen.one_of((1, 2, 3, 5, 8)))
        self.events.append(
            IssueCreated(
                pen.millis,
                self.key,
                id=str(ISSUE_ID_BASE + self.brief.index),
                project=self.team.project,
                summary=self.summary,
                description=f"As a user I want to {self.summary[0].lower()}{self.summary[1:]}.\n\nDone when live.",
                issue_type=self.issue_type,
                priority="Highest" if incident else pen.weighted({"High": 20, "Medium": 60, "Low": 20}),
                reporter=reporter.login,
                labels=tuple(sorted(pen.sample(org.LABELS, pen.number(0, 2)))),
                story_points=points,
                parent=self.brief.parent,
                due=pen.day_after(21) if pen.chance(0.15) else None,
            )
        )
        if self.brief.cause is not None:
            pen.wait_minutes(1, 4)
            link = f"This issue is caused by {self.brief.cause}"
            self._change(reporter, Change("Link", None, None, None, self.brief.cause, link))

    def _change(self, author: Person, *changes: Change | None) -> None:
        made = tuple(change for change in changes if change is not None)
        if made:
            self.pen.wait_seconds(2, 40)
            self.events.append(IssueChanged(self.pen.millis, self.key, author.login, made))

    def _to(self, status: Status) -> Change | None:
        before, self.status = self.status, status
        return None if before == status else Change("status", "status", before.id, before.name, status.id, status.name)

    def _assign(self, person: Person) -> Change | None:
        before, self.assignee = self.assignee, person
        if before == person:
            return None
        old_id, old_name = (before.account_id, before.name) if before else (None, None)
        return Change("assignee", "assignee", old_id, old_name, person.account_id, person.name)

    def _resolve(self, resolution: str | None) -> Change | None:
        before, self.resolution = self.resolution, resolution
        old = (org.RESOLUTIONS[before], before) if before else (None, None)
        new = (org.RESOLUTIONS[resolution], resolution) if resolution else (None, None)
        return None if before == resolution else Change("resolution", "resolution", *old, *new)

    def _comment(self, author: Person, body: str) -> None:
        self.pen.wait_seconds(5, 60)
        self.events.append(CommentAdded(self.pen.millis, self.key, author.login, body))

    # The ways a ticket can go

    def _leave(self) -> None:
        """Nobody takes it; sometimes it is re-prioritised."""
        if self.pen.chance(0.4):
            self.pen.wait_days(1, 12).working(self.team.lead)
            self._change(self.team.lead, Change("priority", "priority", "3", "Medium", "4", "Low"))

    def _by_agents(self) -> None:
        pen, lead = self.pen, self.team.lead
        pen.wait_minutes(5, 400).working(lead)
        self._change(lead, self._assign(org.PLANNER))
        if not self._planned():
            return
        self._change(lead, self._to(org.IN_PROGRESS), self._assign(org.CODER))
        if not self._stage("implement", "plan_approved"):
            self._comment(org.CODER, "I could not finish this and hand it over.")
            self._by_people()
            return
        self._open_pull_request(org.CODER, draft=pen.chance(0.3))
        self._change(org.CODER, self._to(org.IN_REVIEW))
        self._reviewed(org.FIXER)

    def _planned(self) -> bool:
        """Plan, ask, plan again: true once a human approved."""
        pen = self.pen
        for _ in range(3):
            self._change(org.PLANNER, self._to(org.PLANNING))
            if not self._stage("plan", "ticket_assigned"):
                break
            plan = self._last_trace
            self._comment(org.PLANNER, "Plan:\n1. Reproduce\n2. Change the code\n3. Test\n\nApprove?")
            self._change(org.PLANNER, self._to(org.PLAN_REVIEW))
            approver = pen.one_of((self.team.lead, *self.team.members))
            pen.wait_hours(0.3, 9).working(approver)
            approved = pen.chance(0.8)
            self._score(plan, "plan_approval", Decimal(int(approved)), "ANNOTATION", None if approved else "Too broad")
            word = "approved" if approved else "rejected"
            self.events.append(
                TraceUpdated(pen.millis, self.key, plan, (("decision", word), ("approver", approver.login)))
            )
            self._comment(approver, "Approved ✅" if approved else "Rejected: please keep the change smaller.")
            if approved:
                return True
            if pen.chance(0.15):
                self._change(approver, self._to(org.DONE), self._resolve("Won't Do"))
                return False
        self._by_people()
        return False

    def _by_people(self, *, urgent: bool = False) -> None:
        pen, person = self.pen, self.pen.one_of(self.team.members)
        if urgent:
            pen.wait_minutes(3, 25)
        else:
            pen.wait_hours(1, 50).working(person)
        self._change(person, self._assign(person), self._to(org.IN_PROGRESS))
        if urgent:
            pen.wait_minutes(10, 50)
        else:
            pen.wait_hours(2, 30).working(person)
        if not urgent and pen.chance(0.05):
            self._change(person, self._to(org.DONE), self._resolve("Won't Do"))
            return
        self._open_pull_request(person, draft=not urgent and pen.chance(0.35))
        self._change(person, self._to(org.IN_REVIEW))
        self._reviewed(person, urgent=urgent)

    # Agents at work

    def _stage(self, stage: str, event: str) -> bool:
        """One stage by its agent, again after an error; true if it came to a result."""
        for attempt in range(1, 4):
            if self._run_stage(stage, event, attempt):
                return True
            self.pen.wait_minutes(1, 5)
        return False

    def _run_stage(self, stage: str, event: str, attempt: int) -> bool:
        pen, agent = self.pen, org.STAGE_AGENTS[stage]
        self.runs += 1
        run, project = f"{self.key}/{self.runs}", self.team.project
        self.events.append(StageQueued(pen.seconds, self.key, run, project, stage))
        pen.wait_seconds(5, 900)
        began = pen.seconds
        self.events.append(StageStarted(began, self.key, run, project, stage, agent.login))
        failed = pen.chance(0.08)
        trace = stage_trace(
            pen,
            ticket=self.key,
            run=run,
            stage=stage,
            event=event,
            attempt=attempt,
            repository=f"{org.ORGANISATION}/{self.repository}",
            summary=self.summary,
            failed=failed,
        )
        self.events.append(trace)
        self._last_trace = trace.id
        error = "model_error" if failed else None
        self.events.append(
            StageEnded(pen.seconds, self.key, run, project, stage, agent.login, began, trace_cost(trace), error)
        )
        if not failed:
            verdict = Decimal(pen.number(55, 99)) / 100
            self._score(trace.id, "judge_quality", verdict, "EVAL", None, later=pen.number(60, 600))
        return not failed

    def _score(
        self, trace: str, name: str, value: Decimal, source: str, comment: str | None, *, later: int = 0
    ) -> None:
        at = self.pen.millis_after(later)
        self.events.append(ScoreAdded(at, self.key, self.pen.uuid(), trace, name, value, source, comment))

    # Pull requests

    def _open_pull_request(self, author: Person, *, draft: bool) -> None:
        pen = self.pen
        self.pull_requests += 1
        self.ref = f"{self.key}#{self.pull_requests}"
        prefix = "forge" if author.is_agent else ("hotfix" if self.issue_type == "Incident" else "feature")
        suffix = f"-{self.pull_requests}" if self.pull_requests > 1 else ""
        self.branch = f"{prefix}/{self.key}-{slug(self.summary)}{suffix}"
        back = pen.number(10, 40) if author.is_agent else pen.number(40, 600)
        first = self._commits(author, pen.number(1, 2 if author.is_agent else 4), back)
        body = f"Implements {self.key}.\n\n## What\n{self.summary}\n\n## Tests\n- [x] unit\n- [ ] end to end"
        labels = ("forge",) if author.is_agent else ()
        self.events.append(
            PullRequestOpened(
                pen.seconds,
                self.key,
                self.ref,
                self.repository,
                author.login,
                f"{self.key}: {self.summary}",
                body,
                self.branch,
                draft,
                labels,
                pen.number(1, 14),
                first,
            )
        )
        if pen.chance(0.3):
            pen.wait_seconds(5, 60)
            self.events.append(Labeled(pen.seconds, self.key, self.ref, author.login, pen.one_of(org.LABELS)))

    def _commits(self, author: Person, count: int, minutes_back: int) -> tuple[Commit, ...]:
        pen = self.pen
        made = []
        for n in range(count):
            at = pen.seconds_before(minutes_back * 60 * (count - n) // count)
            text = (
                f"{self.summary}\n\nRefs: {self.key}"
                if not self.commits
                else f"Address review: {pen.one_of(org.VERBS)}"
            )
            if author.is_agent:
                text += f"\n\nCo-authored-by: {self.team.lead.name} <{self.team.lead.email}>"
            commit = Commit(pen.sha(), author.login, at, at, text, pen.number(3, 220), pen.number(0, 90))
            made.append(commit)
            self.commits.append(commit)
        self.head = made[-1].oid
        return tuple(made)

    def _push(self, author: Person) -> None:
        minutes = self.pen.number(1, 6)
        self.pen.wait_seconds(1, 30)
        commits = self._commits(author, 1, minutes if author.is_agent else minutes * 5)
        self.events.append(CommitsPushed(self.pen.seconds, self.key, self.ref, commits, self.pen.number(0, 2)))

    def _reviewed(self, fixer: Person, *, urgent: bool = False) -> None:
        """CI and reviews until it is merged or closed."""
        pen = self.pen
        if not self._green(fixer):
            self._close_pull_request(self.team.lead)
            return
        author = fixer if not fixer.is_agent else org.CODER
        if self._is_draft():
            pen.wait_minutes(2, 90)
            self.events.append(ReadyForReview(pen.seconds, self.key, self.ref, author.login))
        reviewer = pen.one_of([p for p in (*self.team.members, self.team.lead) if p != fixer])
        pen.wait_seconds(5, 120)
        self.events.append(ReviewRequested(pen.seconds, self.key, self.ref, author.login, reviewer.login))
        for round_number in range(1, MAX_REVIEW_ROUNDS + 1):
            if urgent:
                pen.wait_minutes(3, 20)
            else:
                pen.wait_hours(0.2, 14).working(reviewer)
            verdict = pen.weighted({"APPROVED": 62, "CHANGES_REQUESTED": 30, "COMMENTED": 8})
            verdict = "APPROVED" if urgent or (round_number == MAX_REVIEW_ROUNDS and pen.chance(0.7)) else verdict
            if not urgent and pen.chance(0.04):
                break
            text = {
                "APPROVED": "LGTM 👍",
                "CHANGES_REQUESTED": "Please handle the empty case.",
                "COMMENTED": "Why this way?",
            }
            self.events.append(ReviewSubmitted(pen.seconds, self.key, self.ref, reviewer.login, verdict, text[verdict]))
            if verdict == "APPROVED":
                self._merge(reviewer if fixer.is_agent else fixer)
                return
            if verdict == "CHANGES_REQUESTED":
                fixed = self._stage("review_fix", "changes_requested") if fixer.is_agent else self._rework(fixer)
                if not fixed:
                    break
                self._push(fixer)
                if not self._green(fixer):
                    break
        self._close_pull_request(self.team.lead)

    def _is_draft(self) -> bool:
        return next(e.draft for e in self.events if isinstance(e, PullRequestOpened) and e.ref == self.ref)

    def _rework(self, person: Person) -> bool:
        self.pen.wait_hours(0.4, 8).working(person)
        return True

    def _green(self, fixer: Person) -> bool:
        """CI on the head, fixed while it is red; true once it is green."""
        for _ in range(3):
            if self._ci():
                return True
            if fixer.is_agent:
                if not self._stage("review_fix", "ci_failed"):
                    return False
            else:
                self._rework(fixer)
            self._push(fixer)
        return self._ci()

    def _ci(self) -> bool:
        """The workflows of one head; a red one is started again once in three times (and may have been a flake)."""
        pen, actor = self.pen, self._pusher()
        lint, tests = pen.uuid(), pen.uuid()
        pen.wait_seconds(3, 20)
        for name, run in (("lint", lint), ("tests", tests)):
            self.events.append(self._run_started(run, name, actor, 1))
        pen.wait_seconds(30, 120)
        self.events.append(WorkflowRunCompleted(pen.seconds, self.key, lint, "success"))
        pen.wait_minutes(2, 14)
        green = pen.chance(0.78)
        self.events.append(WorkflowRunCompleted(pen.seconds, self.key, tests, "success" if green else "failure"))
        if not green and pen.chance(0.33):
            pen.wait_minutes(1, 12)
            self.events.append(self._run_started(tests, "tests", actor, 2))
            pen.wait_minutes(2, 14)
            green = pen.chance(0.6)
            self.events.append(WorkflowRunCompleted(pen.seconds, self.key, tests, "success" if green else "failure"))
        return green

    def _pusher(self) -> str:
        return self.commits[-1].author

    def _run_started(self, run: str, name: str, actor: str, attempt: int) -> WorkflowRunStarted:
        return WorkflowRunStarted(
            self.pen.seconds, self.key, run, self.repository, name, self.ref, self.head, self.branch, actor, attempt
        )

    def _close_pull_request(self, actor: Person) -> None:
        self.pen.wait_hours(1, 20).working(actor)
        self.events.append(PullRequestClosed(self.pen.seconds, self.key, self.ref, actor.login))
        if self.pen.chance(0.5):
            self._change(actor, self._to(org.DONE), self._resolve("Won't Do"))
        else:
            self._change(actor, self._to(org.TODO))

    # After the merge

    def _merge(self, actor: Person) -> None:
        pen = self.pen
        pen.wait_minutes(1, 45)
        merge_sha = pen.sha()
        self.events.append(PullRequestMerged(pen.seconds, self.key, self.ref, actor.login, merge_sha))
        self._change(actor, self._to(org.DONE), self._resolve("Done"))
        done_at = pen.now
        self._deploy(merge_sha, actor)
        if self.issue_type != "Incident":
            if pen.chance(0.07):
                self._incident()
            elif self.pull_requests == 1 and pen.chance(0.04):
                pen.now = done_at
                self._reopen()

    def _deploy(self, sha: str, actor: Person) -> None:
        pen = self.pen
        run = pen.uuid()
        pen.wait_seconds(4, 20)
        self.events.append(
            WorkflowRunStarted(pen.seconds, self.key, run, self.repository, "deploy", None, sha, "main", actor.login, 1)
        )
        for environment, failing in (("staging", 0.02), ("production", 0.07)):
            for _ in range(2):
                pen.wait_minutes(3, 20) if environment == "staging" else pen.wait_minutes(10, 90)
                deployment = pen.uuid()
                self.events.append(
                    DeploymentCreated(pen.seconds, self.key, deployment, self.repository, sha, environment, actor.login)
                )
                pen.wait_seconds(2, 8)
                self._deployment_status(deployment, "in_progress", actor)
                pen.wait_minutes(1, 8)
                failed = pen.chance(failing)
                self._deployment_status(deployment, "failure" if failed else "success", actor)
                if not failed:
                    break
        pen.wait_seconds(2, 10)
        self.events.append(WorkflowRunCompleted(pen.seconds, self.key, run, "success"))

    def _deployment_status(self, deployment: str, state: str, actor: Person) -> None:
        self.events.append(DeploymentStatusCreated(self.pen.seconds, self.key, deployment, state, actor.login))

    def _incident(self) -> None:
        self.pen.wait_minutes(15, 600)
        index, key = self.new_key(self.team)
        plain = self.summary
        brief = Brief(
            self.brief.seed,
            index,
            self.team,
            key,
            self.pen.millis,
            issue_type="Incident",
            summary=f'Revert "{plain}"',
            cause=self.key,
        )
        self.events += tell(brief, self.new_key)

    def _reopen(self) -> None:
        pen, person = self.pen, self.pen.one_of(self.team.members)
        pen.wait_days(1, 6).working(person)
        self._change(person, self._to(org.IN_PROGRESS), self._resolve(None), self._assign(person))
        pen.wait_hours(1, 12).working(person)
        self._open_pull_request(person, draft=False)
        self._change(person, self._to(org.IN_REVIEW))
        self._reviewed(person)
