"""Forge's own metrics, derived from the event log: what its `forge_*` series were at each step.

Gauges stand; counters and histograms begin at 0 when the platform restarts (each Monday at 03:00 UTC), as real ones do.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product
from math import ceil

from forge_demo import events as ev
from forge_demo import organisation as org

STEP = 60
"""Seconds between two samples; they stand at multiples of it since 1970."""
BUCKETS = (60.0, 120.0, 300.0, 600.0, float("inf"))
"""Upper bounds of forge_stage_duration_seconds."""
_PROJECTS = tuple(team.project for team in org.TEAMS)
_WEEK = timedelta(days=7)
_FIRST_RESTART = datetime(1970, 1, 5, 3, tzinfo=UTC)


@dataclass(slots=True)
class Series:
    """One series as the moments when it changes: `times` (Unix seconds, ascending) and the running `totals`."""

    name: str
    labels: dict[str, str]
    counter: bool
    times: list[float] = field(default_factory=list)
    totals: list[float] = field(default_factory=list)

    def add(self, at: datetime, change: float) -> None:
        """It changed."""
        self.times.append(at.timestamp())
        # Money and durations are added up thousands of times: 9 decimals keep binary noise out.
        self.totals.append(round((self.totals[-1] if self.totals else 0.0) + change, 9))

    def value(self, at: float) -> float:
        """At a moment (Unix seconds)."""
        now = self._total(at)
        return round(now - self._total(restart_before(at)), 9) if self.counter else now

    def _total(self, at: float) -> float:
        index = bisect_right(self.times, at)
        return self.totals[index - 1] if index else 0.0

    def runs(self, begin: float, end: float) -> Iterator[tuple[range, float]]:
        """The steps of (begin, end] (Unix seconds), in runs of one value: it changes seldom."""
        first, stop = (int(begin) // STEP + 1) * STEP, int(end) + 1
        changes = self.times[bisect_right(self.times, first) : bisect_right(self.times, end)]
        starts = {first, *(ceil(at / STEP) * STEP for at in changes)}
        if self.counter:
            restart = int(restart_before(end))
            starts |= set(range(restart, first, -int(_WEEK.total_seconds())))
        borders = [*sorted(at for at in starts if at < stop), stop]
        for here, there in pairwise(borders):
            yield range(here, there, STEP), self.value(here)

    def samples(self, begin: float, end: float) -> Iterator[tuple[int, float]]:
        """(Unix seconds, value) at each step of (begin, end]."""
        for steps, value in self.runs(begin, end):
            for at in steps:
                yield at, value


def restart_before(at: float) -> float:
    """The platform's last restart (Unix seconds)."""
    first, week = _FIRST_RESTART.timestamp(), _WEEK.total_seconds()
    return first + (at - first) // week * week


def series(past: Iterable[ev.Event]) -> list[Series]:
    """All series after these events (oldest first), families together."""
    return _Registry(past).all()


class _Registry:
    def __init__(self, past: Iterable[ev.Event]) -> None:
        by_stage = [{"project": p, "stage": s} for p, s in product(_PROJECTS, org.STAGES)]
        self._series: dict[tuple[str, ...], Series] = {}
        self._family("forge_queue_depth", by_stage)
        self._family("forge_agents_busy", [{"agent": agent.login} for agent in org.AGENTS])
        bounds = [{**labels, "le": _bound(b)} for labels in by_stage for b in BUCKETS]
        self._family("forge_stage_duration_seconds_bucket", bounds, counter=True)
        self._family("forge_stage_duration_seconds_sum", by_stage, counter=True)
        self._family("forge_stage_duration_seconds_count", by_stage, counter=True)
        self._family("forge_stage_errors_total", by_stage, counter=True)
        agents = [{"project": p, "agent": a.login} for p, a in product(_PROJECTS, org.AGENTS)]
        self._family("forge_llm_cost_usd_total", agents, counter=True)
        ends = [{"project": p, "resolution": r} for p, r in product(_PROJECTS, org.RESOLUTIONS)]
        self._family("forge_tickets_total", ends, counter=True)
        self._family("forge_tickets_open", [{"project": p} for p in _PROJECTS])
        for event in past:
            self._take(event)

    def all(self) -> list[Series]:
        return list(self._series.values())

    def _family(self, name: str, labels: list[dict[str, str]], *, counter: bool = False) -> None:
        for each in labels:
            self._series[(name, *each.values())] = Series(name, each, counter)

    def _add(self, at: datetime, change: float, name: str, *labels: str) -> None:
        self._series[(name, *labels)].add(at, change)

    def _take(self, event: ev.Event) -> None:
        at = event.at
        match event:
            case ev.StageQueued():
                self._add(at, 1, "forge_queue_depth", event.project, event.stage)
            case ev.StageStarted():
                self._add(at, -1, "forge_queue_depth", event.project, event.stage)
                self._add(at, 1, "forge_agents_busy", event.agent)
            case ev.StageEnded():
                self._ended(event)
            case ev.IssueCreated() if event.project in _PROJECTS:
                self._add(at, 1, "forge_tickets_open", event.project)
            case ev.IssueChanged():
                project = (event.ticket or "").rpartition("-")[0]
                for change in event.changes:
                    if change.field_id == "resolution":
                        self._add(at, -1 if change.to_string else 1, "forge_tickets_open", project)
                        if change.to_string:
                            self._add(at, 1, "forge_tickets_total", project, change.to_string)

    def _ended(self, event: ev.StageEnded) -> None:
        at, where = event.at, (event.project, event.stage)
        seconds = (at - event.started_at).total_seconds()
        self._add(at, -1, "forge_agents_busy", event.agent)
        for bound in BUCKETS:
            if seconds <= bound:
                self._add(at, 1, "forge_stage_duration_seconds_bucket", *where, _bound(bound))
        self._add(at, seconds, "forge_stage_duration_seconds_sum", *where)
        self._add(at, 1, "forge_stage_duration_seconds_count", *where)
        self._add(at, float(event.cost), "forge_llm_cost_usd_total", event.project, event.agent)
        if event.error:
            self._add(at, 1, "forge_stage_errors_total", *where)


def _bound(value: float) -> str:
    return "+Inf" if value == float("inf") else f"{value:g}"


def open_metrics(past: Iterable[ev.Event], begin: float, end: float) -> Iterator[str]:
    """The series' samples of (begin, end] as OpenMetrics text, in chunks."""
    for one in series(past):
        labels = ",".join(f'{key}="{value}"' for key, value in one.labels.items())
        prefix = f"{one.name}{{{labels}}} "
        for steps, value in one.runs(begin, end):
            head = f"{prefix}{value:.12g} "
            yield "".join([f"{head}{at}\n" for at in steps])
    yield "# EOF\n"
