"""The world: a log of events by seed, that grows day by day, and what is known of it at a moment.

Everything is a function of (seed, start, tickets_per_day) and of what was injected; what happened is never rewritten.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from operator import attrgetter

from forge_demo import jira_life, jira_tales
from forge_demo import organisation as org
from forge_demo.events import (
    CommentAdded,
    Commit,
    Event,
    IssueChanged,
    IssueCreated,
    ObservationChanged,
    PullRequestMerged,
    PullRequestOpened,
    ReviewSubmitted,
    ScoreAdded,
    ScoreChanged,
    TraceDeleted,
    TraceIngested,
    TraceUpdated,
    WorkflowRunCompleted,
    WorkflowRunStarted,
    moved,
)
from forge_demo.faults import Lateness
from forge_demo.github_life import daily, lived
from forge_demo.github_tales import tales
from forge_demo.jira_events import CommentDeleted, CommentEdited
from forge_demo.langfuse_life import judged
from forge_demo.organisation import Team
from forge_demo.pen import Pen
from forge_demo.state import NEVER, State
from forge_demo.story import Brief, tell
from forge_demo.traces import chat_trace

DAY = timedelta(days=1)
DEFAULT_SEED, DEFAULT_DAYS, DEFAULT_TICKETS_PER_DAY = 7, 90, 4.5
_BY_TIME = attrgetter("at")
_MILLISECOND_EVENTS = (
    IssueCreated,
    CommentEdited,
    CommentDeleted,
    IssueChanged,
    CommentAdded,
    TraceIngested,
    TraceUpdated,
    ObservationChanged,
    ScoreAdded,
    ScoreChanged,
)
_WEEKEND_SHARE = 0.15


@dataclass(slots=True)
class World:
    """The log up to `generated_until`, and the state at `now` (a cursor into the log)."""

    seed: int
    start: datetime
    tickets_per_day: float = DEFAULT_TICKETS_PER_DAY
    log: list[Event] = field(default_factory=list)
    state: State = field(default_factory=State)
    generated_until: datetime = NEVER
    _tickets: int = 0
    _injections: int = 0
    _numbers: dict[str, int] = field(default_factory=dict)
    _epics: dict[str, list[str]] = field(default_factory=dict)
    lateness: Lateness | None = None
    _applied: int = 0
    _held: list[tuple[datetime, int, Event]] = field(default_factory=list)
    _seen: dict[str, datetime] = field(default_factory=dict)

    @classmethod
    def build(
        cls,
        seed: int = DEFAULT_SEED,
        *,
        end: datetime,
        days: int = DEFAULT_DAYS,
        tickets_per_day: float = DEFAULT_TICKETS_PER_DAY,
    ) -> World:
        """A world that began at the midnight (UTC) `days` days before `end`, and has come to `end`."""
        midnight = end.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        world = cls(seed, midnight - days * DAY, tickets_per_day)
        world.generated_until = world.start
        world._tell_epics()
        world.log += tales(str(seed), world.start) + jira_tales.tales(str(seed), world.start)
        world.advance(end)
        return world

    @property
    def now(self) -> datetime:
        """The moment that `state` shows."""
        return self.state.now

    @property
    def past(self) -> Sequence[Event]:
        """The events up to now that can be seen, oldest first."""
        held = {number for _, number, _ in self._held}
        return [event for number, event in enumerate(self.log[: self._applied]) if number not in held]

    def advance(self, to: datetime) -> int:
        """Let time pass until `to`; an earlier moment changes nothing. Returns the number of events that happened."""
        if self.generated_until <= to + DAY:
            while self.generated_until <= to + DAY:
                self._tell_day(self.generated_until)
                self.generated_until += DAY
            self._sort()  # once, however many days were told
        while self._applied < len(self.log) and self.log[self._applied].at <= to:
            event = self.log[self._applied]
            heapq.heappush(self._held, (self._seen_at(event), self._applied, event))
            self._applied += 1
        seen = self._see(to)
        self.state.now = max(self.state.now, to)
        return seen

    def happen(self, event: Event) -> None:
        """Let something happen now that no story tells."""
        self.log.insert(self._applied, event)
        self._applied += 1
        self.state.apply(event)

    def release(self) -> int:
        """Let what is late be seen now. Returns the number of events."""
        return self._see(None)

    def _see(self, to: datetime | None) -> int:
        seen = 0
        while self._held and (to is None or self._held[0][0] <= to):
            self.state.apply(heapq.heappop(self._held)[2])
            seen += 1
        return seen

    def _seen_at(self, event: Event) -> datetime:
        """When an event can be seen: never before an earlier one of its ticket."""
        if self.lateness is None or event.ticket is None:
            return event.at
        at = max(event.at + self.lateness.delay(event), self._seen.get(event.ticket, event.at))
        self._seen[event.ticket] = at
        return at

    def inject(self, count: int, span: timedelta, retell: Callable[[Sequence[Event]], list[Event]] = list) -> list[str]:
        """New tickets whose whole stories, pressed together, happen within `span` from now on, as `retell` tells them.

        Returns their keys, those of incidents included.
        """
        keys: list[str] = []
        for n in range(count):
            self._injections += 1
            team = org.TEAMS[n % len(org.TEAMS)]
            told = retell(self._told_to_the_end(team))
            first, last = min(e.at for e in told), max(e.at for e in told)
            begin = (self.now + timedelta(seconds=2)).replace(microsecond=0)
            factor = min(1.0, (span - timedelta(seconds=3)) / max(last - first, timedelta(seconds=1)))
            # `begin` is a whole second, so that none is floored to before it: what happened is not rewritten.
            self.log += [
                moved(e, first, begin, factor, 1 if isinstance(e, _MILLISECOND_EVENTS) else 1000) for e in told
            ]
            keys += [e.ticket for e in told if isinstance(e, IssueCreated) and e.ticket]
        self._sort()
        return keys

    def delete_traces(self, count: int) -> list[str]:
        """Delete traces now, spread evenly over those that are there. Returns their ids."""
        there = list(self.state.traces.values())
        gone = there[:: max(len(there) // max(count, 1), 1)][:count]
        at = self.now + timedelta(milliseconds=1)
        self.log += [TraceDeleted(at, trace.ingested.ticket, trace.ingested.id) for trace in gone]
        self._sort()
        self.advance(at)
        return [trace.ingested.id for trace in gone]

    # Telling

    def _tell_epics(self) -> None:
        for team in org.TEAMS:
            for n in range(2):
                brief = self._brief(team, self.start + timedelta(hours=8 + n), issue_type="Epic")
                self._epics.setdefault(team.project, []).append(brief.key)
                self.log += tell(brief, self._new_key)

    def _tell_day(self, day: datetime) -> None:
        pen = Pen(f"{self.seed}/day/{(day - self.start).days}", day)
        weekend = day.weekday() >= 5
        expected = self.tickets_per_day * (_WEEKEND_SHARE if weekend else (7 - 2 * _WEEKEND_SHARE) / 5)
        count = int(expected) + pen.chance(expected % 1)
        for offset in sorted(pen.number(0, 24 * 3600 - 1) for _ in range(count)):
            team = pen.weighted({org.PLATFORM: 6, org.PAYMENTS: 4})
            at = Pen(f"{self.seed}/{day}/{offset}", day + timedelta(seconds=offset))
            created = at.now if weekend else at.working(team.lead).now
            parent = pen.one_of(self._epics[team.project]) if pen.chance(0.5) else None
            created = min(created, day + DAY - timedelta(seconds=1)) + timedelta(milliseconds=pen.number(1, 999))
            self.log += self._told(self._brief(team, created, parent=parent))
        for _ in range(pen.number(0, 3)):
            pen.now = day
            self.log.append(chat_trace(pen.wait_hours(6, 20)))
        if pen.chance(0.4):
            pen.now = day
            self.log += lived(_dependency_update(pen.wait_hours(3, 5)), str(self.seed))
        self.log += daily(str(self.seed), day, (day - self.start).days)
        self.log += jira_life.calendar(str(self.seed), day, (day - self.start).days)

    def _told_to_the_end(self, team: Team) -> list[Event]:
        """A story that runs through agents to its merge: what a newcomer wants to see arrive."""
        for attempt in range(60):
            told_by_seed = f"{self.seed}/injected/{self._injections}/{attempt}"
            keep = self._tickets, dict(self._numbers)
            told = self._told(self._brief(team, self.now, seed=told_by_seed))
            if any(isinstance(e, TraceIngested) for e in told) and any(isinstance(e, PullRequestMerged) for e in told):
                return told
            self._tickets, self._numbers = keep
        raise AssertionError("no story out of 60 came to its end; the odds in story.py are broken")

    def _told(self, brief: Brief) -> list[Event]:
        """The story of a ticket, with what GitHub, Jira and Langfuse add to it."""
        told = jira_life.lived(lived(tell(brief, self._new_key), brief.seed), brief.seed, self.start)
        return judged(told, brief.seed)

    def _brief(
        self,
        team: Team,
        at: datetime,
        *,
        parent: str | None = None,
        issue_type: str | None = None,
        seed: str | None = None,
    ) -> Brief:
        index, key = self._new_key(team)
        summary = f"{team.project_name} {index}: robustness" if issue_type == "Epic" else None
        return Brief(seed or str(self.seed), index, team, key, at, parent, issue_type, summary)

    def _new_key(self, team: Team) -> tuple[int, str]:
        self._tickets += 1
        self._numbers[team.project] = self._numbers.get(team.project, 0) + 1
        return self._tickets, f"{team.project}-{self._numbers[team.project]}"

    def _sort(self) -> None:
        self.log.sort(key=_BY_TIME)


def _dependency_update(pen: Pen) -> list[Event]:
    """A pull request by a bot outside Forge, for no ticket."""
    team = pen.one_of(org.TEAMS)
    repository, reviewer = pen.one_of(team.repositories), pen.one_of(team.members)
    package = pen.one_of(("urllib3", "pydantic", "vite", "grpcio", "left-pad"))
    title = f"Bump {package} from {pen.number(1, 3)}.{pen.number(0, 9)} to {pen.number(4, 6)}.0"
    commit = Commit(
        pen.sha(), org.DEPENDABOT.login, pen.seconds, pen.seconds, title, pen.number(1, 9), pen.number(1, 9)
    )
    ref, branch, run = f"deps/{pen.hex(10)}", f"dependabot/pip/{package}-{pen.hex(6)}", pen.uuid()
    pen.wait_seconds(5, 30)
    events: list[Event] = [
        PullRequestOpened(
            pen.seconds,
            None,
            ref,
            repository,
            org.DEPENDABOT.login,
            title,
            f"Bumps {package}.",
            branch,
            False,
            ("dependencies",),
            1,
            (commit,),
        )
    ]
    pen.wait_seconds(3, 9)
    events.append(
        WorkflowRunStarted(
            pen.seconds, None, run, repository, "tests", ref, commit.oid, branch, org.DEPENDABOT.login, 1
        )
    )
    pen.wait_minutes(2, 9)
    events.append(WorkflowRunCompleted(pen.seconds, None, run, "success"))
    if pen.chance(0.8):
        pen.wait_hours(3, 60).working(reviewer)
        events.append(ReviewSubmitted(pen.seconds, None, ref, reviewer.login, "APPROVED", ""))
        pen.wait_seconds(20, 90)
        events.append(PullRequestMerged(pen.seconds, None, ref, reviewer.login, pen.sha()))
    return events
