"""Forge's own metrics by the hour, from what its stages did."""

from __future__ import annotations

from bisect import bisect_right
from datetime import datetime, timedelta
from itertools import product
from operator import itemgetter

from forge_demo import events as ev
from forge_demo import organisation as org
from forge_demo.oracle.known import Known
from forge_demo.oracle.periods import Row

QUERY = "forge"
_BOUNDS = {"60": 60.0, "120": 120.0, "300": 300.0, "600": 600.0, "+Inf": float("inf")}
_MINUTE = timedelta(minutes=1)

Labels = tuple[str, ...]


class _Counts:
    """How each series changed, by metric and labels; a counter begins anew on Mondays at three."""

    def __init__(self) -> None:
        self.changes: dict[tuple[str, Labels], list[tuple[datetime, float]]] = {}
        self.totals: dict[tuple[str, Labels], list[float]] = {}
        self.counters: set[str] = set()

    def begin(self, metric: str, *values: tuple[str, ...], counter: bool = False) -> None:
        for labels in product(*values):
            self.changes[metric, labels] = []
        if counter:
            self.counters.add(metric)

    def add(self, at: datetime, change: float, metric: str, *labels: str) -> None:
        self.changes[metric, labels].append((at, change))

    def value(self, metric: str, labels: Labels, at: datetime) -> float:
        whole = self._until(metric, labels, at)
        if metric not in self.counters:
            return whole
        monday = at - timedelta(days=at.weekday(), hours=at.hour, minutes=at.minute) + timedelta(hours=3)
        return round(whole - self._until(metric, labels, monday if monday <= at else monday - timedelta(days=7)), 9)

    def _until(self, metric: str, labels: Labels, at: datetime) -> float:
        if (metric, labels) not in self.totals:
            totals = [0.0]
            for _, change in self.changes[metric, labels]:
                totals.append(round(totals[-1] + change, 9))
            self.totals[metric, labels] = totals
        return self.totals[metric, labels][bisect_right(self.changes[metric, labels], at, key=itemgetter(0))]


def _counted(known: Known) -> _Counts:
    counts = _Counts()
    projects = tuple(team.project for team in org.TEAMS)
    agents = tuple(agent.login for agent in org.AGENTS)
    counts.begin("forge_queue_depth", projects, org.STAGES)
    counts.begin("forge_agents_busy", agents)
    counts.begin("forge_stage_duration_seconds_bucket", projects, org.STAGES, tuple(_BOUNDS), counter=True)
    for metric in (
        "forge_stage_duration_seconds_sum",
        "forge_stage_duration_seconds_count",
        "forge_stage_errors_total",
    ):
        counts.begin(metric, projects, org.STAGES, counter=True)
    counts.begin("forge_llm_cost_usd_total", projects, agents, counter=True)
    counts.begin("forge_tickets_total", projects, tuple(org.RESOLUTIONS), counter=True)
    counts.begin("forge_tickets_open", projects)
    for event in known.past:
        _count(counts, event, projects)
    return counts


def _count(counts: _Counts, event: ev.Event, projects: tuple[str, ...]) -> None:
    at = event.at
    match event:
        case ev.StageQueued():
            counts.add(at, 1, "forge_queue_depth", event.project, event.stage)
        case ev.StageStarted():
            counts.add(at, -1, "forge_queue_depth", event.project, event.stage)
            counts.add(at, 1, "forge_agents_busy", event.agent)
        case ev.StageEnded():
            where, took = (event.project, event.stage), (at - event.started_at).total_seconds()
            counts.add(at, -1, "forge_agents_busy", event.agent)
            counts.add(at, took, "forge_stage_duration_seconds_sum", *where)
            counts.add(at, 1, "forge_stage_duration_seconds_count", *where)
            counts.add(at, float(event.cost), "forge_llm_cost_usd_total", event.project, event.agent)
            for name, bound in _BOUNDS.items():
                if took <= bound:
                    counts.add(at, 1, "forge_stage_duration_seconds_bucket", *where, name)
            if event.error:
                counts.add(at, 1, "forge_stage_errors_total", *where)
        case ev.IssueCreated() if event.project in projects:
            counts.add(at, 1, "forge_tickets_open", event.project)
        case ev.IssueChanged():
            project = (event.ticket or "").rpartition("-")[0]
            for change in event.changes:
                if change.field == "resolution":
                    counts.add(at, -1 if change.to_string else 1, "forge_tickets_open", project)
                    if change.to_string:
                        counts.add(at, 1, "forge_tickets_total", project, change.to_string)


def platform_hourly(known: Known) -> list[Row]:
    """A row an hour and metric, of a sample a minute."""
    if known.stack.sampled is None:
        return []
    begin, end = known.stack.sampled
    counts = _counted(known)
    hours: dict[tuple[datetime, str], list[float]] = {}
    series: dict[str, int] = {}
    for metric, labels in counts.changes:
        series[metric] = series.get(metric, 0) + 1
        at = begin.replace(second=0, microsecond=0) + _MINUTE
        while at <= end:
            hour = at.replace(minute=0)
            hours.setdefault((hour, metric), []).append(counts.value(metric, labels, at))
            at += _MINUTE
    return [
        {
            "hour": hour,
            "query": QUERY,
            "metric": metric,
            "series": series[metric],
            "samples": len(values),
            "average": sum(values) / len(values),
            "minimum": min(values),
            "maximum": max(values),
        }
        for (hour, metric), values in hours.items()
    ]
