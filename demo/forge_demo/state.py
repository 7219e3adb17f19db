"""What is known at a moment: the events so far, folded into issues, pull requests, runs, deployments, traces, scores.

Numbers and ids that the real systems give in order of arrival (pull request numbers, history ids) are given here, in
that order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar, cast

from forge_demo import events as ev
from forge_demo.github_state import Hub
from forge_demo.github_things import Deployment, PullRequest, WorkflowRun
from forge_demo.jira_state import Issue, Site

T = TypeVar("T")
NEVER = datetime.min.replace(tzinfo=UTC)
"""Before everything."""


@dataclass(slots=True)
class ObservationState:
    """An observation as it stands."""

    observation: ev.Observation
    trace: Trace
    created_at: datetime
    updated_at: datetime
    metadata: dict[str, str]


@dataclass(slots=True)
class Trace:
    """A trace as it stands."""

    ingested: ev.TraceIngested
    updated_at: datetime
    metadata: dict[str, str]
    observations: list[ObservationState] = field(default_factory=list)


@dataclass(slots=True)
class Score:
    """A score as it stands."""

    added: ev.ScoreAdded
    updated_at: datetime
    value: Decimal
    comment: str | None

    @property
    def timestamp(self) -> datetime:
        """What it says of its time."""
        return self.added.given_at or self.added.at


@dataclass(slots=True)
class State:
    """Everything that exists at `now`. `version` counts the events applied."""

    now: datetime = NEVER
    version: int = 0
    site: Site = field(default_factory=Site)
    hub: Hub = field(default_factory=Hub)
    traces: dict[str, Trace] = field(default_factory=dict)
    scores: dict[str, Score] = field(default_factory=dict)
    sessions: dict[str, ev.TraceIngested] = field(default_factory=dict)
    """By id, with the trace that they began with; they outlive it."""
    _counters: dict[str, int] = field(default_factory=dict)
    _derived: dict[str, tuple[int, Any]] = field(default_factory=dict)

    def once(self, name: str, make: Callable[[State], T]) -> T:
        """What `make` gives, made again only after something happened."""
        version, found = self._derived.get(name, (-1, None))
        if version != self.version:
            found = make(self)
            self._derived[name] = self.version, found
        return cast(T, found)

    def apply(self, event: ev.Event) -> None:
        """Fold one event in; events come in order of time."""
        self.now, self.version = event.at, self.version + 1
        change = _CHANGES.get(type(event))
        if change is not None:
            change(self, event)
        elif not self.site.apply(event):
            self.hub.apply(event)

    @property
    def issues(self) -> dict[str, Issue]:
        """Those of Jira, by key."""
        return self.site.issues

    @property
    def pull_requests(self) -> dict[str, PullRequest]:
        """Those of GitHub, by the name that events give them."""
        return self.hub.pulls

    @property
    def runs(self) -> dict[str, WorkflowRun]:
        """Workflow runs, likewise."""
        return self.hub.runs

    @property
    def deployments(self) -> dict[str, Deployment]:
        """Deployments, likewise."""
        return self.hub.deployments

    def pulls_of(self, repository: str) -> list[PullRequest]:
        """The pull requests of one repository (by its key), oldest first."""
        repo = self.hub.repos.get(repository)
        return list(repo.pulls.values()) if repo else []

    def _next(self, what: str, base: int = 0) -> int:
        self._counters[what] = self._counters.get(what, base) + 1
        return self._counters[what]

    # Langfuse

    def _trace_ingested(self, event: ev.TraceIngested) -> None:
        trace = Trace(event, event.at, dict(event.metadata))
        trace.observations = [
            ObservationState(o, trace, event.at, event.at, dict(o.metadata)) for o in event.observations
        ]
        self.traces[event.id] = trace
        if event.session is not None:
            begun = self.sessions.get(event.session, event)
            self.sessions[event.session] = min(begun, event, key=lambda e: (e.at, e.id))

    def _trace_updated(self, event: ev.TraceUpdated) -> None:
        trace = self.traces.get(event.trace)
        if trace is None:
            return
        root = trace.observations[0]
        trace.updated_at = root.updated_at = event.at
        trace.metadata.update(event.metadata)
        root.metadata.update(event.metadata)

    def _observation_changed(self, event: ev.ObservationChanged) -> None:
        if event.trace in self.traces:
            of = next(o for o in self.traces[event.trace].observations if o.observation.id == event.observation)
            of.observation = replace(of.observation, level=event.level, status_message=event.status_message)
            of.updated_at = max(of.updated_at, event.at)
            of.trace.updated_at = max(of.trace.updated_at, event.at)

    def _trace_deleted(self, event: ev.TraceDeleted) -> None:
        if self.traces.pop(event.trace, None) is not None:
            self.scores = {id_: score for id_, score in self.scores.items() if score.added.trace != event.trace}

    def _score_added(self, event: ev.ScoreAdded) -> None:
        if event.trace in self.traces:
            self.scores[event.id] = Score(event, event.at, event.value, event.comment)

    def _score_changed(self, event: ev.ScoreChanged) -> None:
        if (score := self.scores.get(event.score)) is not None:
            score.value, score.comment, score.updated_at = event.value, event.comment, event.at


_CHANGES: dict[type[ev.Event], Callable[[State, Any], None]] = {
    ev.TraceIngested: State._trace_ingested,
    ev.TraceUpdated: State._trace_updated,
    ev.ObservationChanged: State._observation_changed,
    ev.TraceDeleted: State._trace_deleted,
    ev.ScoreAdded: State._score_added,
    ev.ScoreChanged: State._score_changed,
}
