"""What is worth telling in Events: the difference between two statuses. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from forge_stack.model import ObservabilityStack, StackStatus

from forge_operator.apply import Refusal, Repair
from forge_operator.events import Happening
from forge_operator.loads import OWN_REASONS, Loads, failure_of, summary_of
from forge_operator.names import REQUEST_ANNOTATION, WINDOW_ANNOTATION, annotation
from forge_operator.requests import Requests
from forge_operator.world import World

NEWS = timedelta(minutes=10)
"""How long after its end a run that was asked for is told of: Events are kept for an hour, and then told no more."""


def outcome_happenings(
    outcomes: Iterable[Repair | Refusal], stack: ObservabilityStack, now: datetime
) -> Iterable[Happening]:
    """Drift that was put back, children that were refused."""
    for outcome in outcomes:
        if isinstance(outcome, Refusal):
            kind, name = outcome.manifest["kind"], outcome.manifest["metadata"]["name"]
            told = f"the API server refused {kind} {name}: {outcome.message}"
            yield Happening("ApplyRefused", "Apply", told, f"{kind}/{name}/{stack.metadata.generation}", "Warning")
        else:
            told = f"{outcome.kind} {outcome.name} was put back as the stack wants it; "
            told += f"{outcome.path} was changed by {outcome.by}" if outcome.path else f"it was changed by {outcome.by}"
            yield Happening("DriftRepaired", "Apply", told, f"{outcome.kind}/{outcome.name}/{now.isoformat()}")


def spec_happenings(stack: ObservabilityStack, *, no_monitors: bool, storage_stays: bool) -> Iterable[Happening]:
    """What the stack asks for and cannot have, once a generation."""
    generation = str(stack.metadata.generation)
    if stack.spec.monitoring.service_monitor and no_monitors:
        told = (
            "monitoring.serviceMonitor is true, but the cluster has no ServiceMonitor; install the Prometheus operator"
        )
        yield Happening("ServiceMonitorUnavailable", "Apply", told, generation, "Warning")
    if storage_stays:
        told = (
            "store.managed.storage differs from the volume claim that exists, which stays as it is; grow the "
            "PersistentVolumeClaim by hand where its StorageClass can, or copy the data into a new stack"
        )
        yield Happening("StorageUnchanged", "Apply", told, generation, "Warning")


def source_happenings(stack: ObservabilityStack, new: StackStatus, loads: Sequence[Loads]) -> Iterable[Happening]:
    """A source that began to fail, or that loads again."""
    before = {status.name: status for status in stack.status.sources}
    newest = {each.source.name: each.ended[-1][0]["metadata"]["uid"] for each in loads if each.ended}
    for now in new.sources:
        old = before.get(now.name)
        subject = f"{now.name}/{newest.get(now.name, '')}"
        if now.state == "Failing":
            if old is not None and (old.state, old.reason, old.last_load_time) == (
                now.state,
                now.reason,
                now.last_load_time,
            ):
                continue
            reason = now.reason if now.reason in OWN_REASONS else "LoadFailed"
            told = f"{now.name}: {now.message}" + (f" ({now.reason})" if reason == "LoadFailed" else "")
            yield Happening(reason, "Load", told, f"{subject}/{now.reason}", "Warning")
        elif now.state == "Healthy" and (old is None or old.state in ("Pending", "Loading", "Failing")):
            rows = f", {sum(now.rows.values())} rows" if now.rows else ""
            yield Happening("LoadSucceeded", "Load", f"{now.name} loaded{rows}", subject)


def transform_happenings(stack: ObservabilityStack, new: StackStatus) -> Iterable[Happening]:
    """A transform that was committed in this pass."""
    now = new.transform
    if now.sequence == stack.status.transform.sequence:
        return
    subject = f"{now.sequence}/{now.last_end_time}"
    if now.failures:
        told = f"transform {now.sequence} failed: {now.message}"
        yield Happening("TransformFailed", "Transform", told, subject, "Warning")
    else:
        told = f"transform {now.sequence} succeeded: models {now.models}; tests {now.tests}"
        yield Happening("TransformSucceeded", "Transform", told, subject)


def run_happenings(asked: Requests, world: World, loads: Sequence[Loads]) -> Iterable[Happening]:
    """What was asked for and is refused; the loads that were asked for and ended of late."""
    for refusal in asked.refusals:
        yield Happening("RunRefused", "Run", refusal, f"{asked.written_at}/{refusal}", "Warning")
    for each in loads:
        for job, end in each.ended:
            if not annotation(job, REQUEST_ANNOTATION) or world.now - end.at > NEWS:
                continue
            window = annotation(job, WINDOW_ANNOTATION)
            told = f"the backfill of {each.source.name}, {window}," if window else f"the load of {each.source.name}"
            uid = job["metadata"]["uid"]
            if end.succeeded:
                summary = summary_of(world, job)
                rows = f", {sum(summary.rows.values())} rows" if summary else ""
                yield Happening("RunSucceeded", "Load", f"{told} ended well{rows}", uid)
            else:
                reason, why = failure_of(world, each.source, job, end)
                yield Happening("RunFailed", "Load", f"{told} failed: {why} ({reason})", uid, "Warning")
