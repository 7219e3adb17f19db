"""The operator's own metrics, for Prometheus. What speaks of stacks is read from their status when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from forge_stack.model import StackStatus
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from forge_operator.names import Key

REGISTRY = CollectorRegistry()
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

RECONCILE_SECONDS = Histogram(
    "forge_operator_reconcile_seconds",
    "Time of one reconcile of one stack, by its result: ok, conflict (an old version was read), error.",
    ["result"],
    buckets=_BUCKETS,
    registry=REGISTRY,
)
REQUESTS = Counter(
    "forge_operator_api_requests",
    "Requests to the API server, by method, kind and HTTP status (none: no answer).",
    ["verb", "kind", "code"],
    registry=REGISTRY,
)
REQUEST_SECONDS = Histogram(
    "forge_operator_api_request_seconds",
    "Time until the API server's answer, by method.",
    ["verb"],
    buckets=_BUCKETS,
    registry=REGISTRY,
)
DRIFT_REPAIRS = Counter(
    "forge_operator_drift_repairs",
    "Children put back after somebody else had changed or deleted them, by kind.",
    ["kind"],
    registry=REGISTRY,
)
LEADER = Gauge("forge_operator_leader", "1 while this process works, 0 while it stands by.", registry=REGISTRY)
QUEUE_DEPTH = Gauge("forge_operator_queue_depth", "Stacks that wait for a reconcile.", registry=REGISTRY)
QUEUE_OLDEST = Gauge(
    "forge_operator_queue_oldest_seconds", "How long the oldest of them waits, or is in work.", registry=REGISTRY
)
WATCH_SILENT = Gauge(
    "forge_operator_watch_silent_seconds",
    "Time since the last event or bookmark of a kind's watch (of several namespaces' the most silent one).",
    ["kind"],
    registry=REGISTRY,
)
_VERDICTS = {"True": 1.0, "False": 0.0}


class Stacks(Collector):
    """What the status of each stack says."""

    def __init__(self, statuses: Callable[[], Iterable[tuple[Key, StackStatus]]]) -> None:
        self._statuses = statuses

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One family a fact."""
        ours = ["namespace", "stack"]
        count = GaugeMetricFamily("forge_operator_stacks", "Stacks of this operator.")
        condition = GaugeMetricFamily(
            "forge_operator_stack_condition", "1 true, 0 false, -1 unknown.", labels=[*ours, "condition"]
        )
        healthy = GaugeMetricFamily(
            "forge_operator_source_healthy",
            "0: the source fails to load. A suspended one is not told of.",
            labels=[*ours, "source"],
        )
        suspended = GaugeMetricFamily("forge_operator_stack_suspended", "1: the stack is suspended.", labels=ours)
        loaded = GaugeMetricFamily(
            "forge_operator_source_last_success_timestamp_seconds",
            "End of the last load that succeeded.",
            labels=[*ours, "source"],
        )
        transformed = GaugeMetricFamily(
            "forge_operator_transform_last_success_timestamp_seconds",
            "End of the last transform that succeeded.",
            labels=ours,
        )
        failures = GaugeMetricFamily(
            "forge_operator_transform_failures", "Transforms that failed since the last success.", labels=ours
        )
        stacks = 0
        for key, status in self._statuses():
            stacks += 1
            for each in status.conditions:
                condition.add_metric([*key, each.type], _VERDICTS.get(each.status, -1.0))
            suspended.add_metric([*key], float(any(each.reason == "Suspended" for each in status.conditions)))
            for source in status.sources:
                if source.state != "Suspended":
                    healthy.add_metric([*key, source.name], float(source.state != "Failing"))
                if source.last_success_time is not None:
                    loaded.add_metric([*key, source.name], source.last_success_time.timestamp())
            if status.transform.last_success_time is not None:
                transformed.add_metric([*key], status.transform.last_success_time.timestamp())
            failures.add_metric([*key], float(status.transform.failures))
        count.add_metric([], float(stacks))
        yield from (count, condition, suspended, healthy, loaded, transformed, failures)
