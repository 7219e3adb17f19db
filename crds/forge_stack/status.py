"""The pure status of a stack: from observed facts to conditions, the same in a cluster and on one machine.

Conditions follow the Kubernetes API conventions: positive polarity, a reason for machines, a message that says what to
do, lastTransitionTime only when the status changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from forge_stack.model import (
    Condition,
    ObservabilityStack,
    Source,
    SourceStatus,
    StackStatus,
    TransformStatus,
)
from forge_stack.wire import LoadSummary, Problem


@dataclass(frozen=True)
class Fact:
    """Whether something holds: True, False, or None while it is not known yet."""

    holds: bool | None
    reason: str
    message: str = ""


@dataclass(frozen=True)
class SourceFacts:
    """What was observed of one source in this pass.

    `problem` is what keeps its loads from starting (a missing Secret, a refused CronJob). `ended_at`, `succeeded` and
    `summary` speak of the newest load that ended.
    """

    source: Source
    running: bool = False
    ended_at: datetime | None = None
    succeeded: bool | None = None
    summary: LoadSummary | None = None
    failure: str = ""
    failure_reason: str = "LoadFailed"
    problem: Problem | Fact | None = None


def observe_source(previous: SourceStatus | None, facts: SourceFacts, *, suspended: bool) -> SourceStatus:
    """The status of one source: what this pass saw, over what earlier passes knew."""
    old = previous or SourceStatus(name=facts.source.name)
    change: dict[str, object] = {"type": facts.source.type, "reason": "", "message": ""}
    healthy = old.last_success_time is not None and old.state not in ("Failing", "Pending")
    if facts.ended_at is not None:
        change["last_load_time"] = facts.ended_at
        if facts.summary is not None:
            change["duration_seconds"] = facts.summary.duration_seconds
        if facts.succeeded:
            healthy = True
            change["last_success_time"] = facts.ended_at
            if facts.summary is not None:
                change |= {
                    "rows": facts.summary.rows,
                    "requests": facts.summary.requests,
                    "cursor": facts.summary.cursor or old.cursor,
                    "newest_event_at": facts.summary.newest_event_at or old.newest_event_at,
                    "message": "; ".join(facts.summary.warnings)[:1024],
                }
        else:
            healthy = False
            error = facts.summary.error if facts.summary else None
            change["reason"] = error.reason if error else facts.failure_reason
            change["message"] = error.message if error else facts.failure or "the load ended without a summary"
    elif old.state == "Failing":
        change |= {"reason": old.reason, "message": old.message}
    failed = facts.succeeded is False or (facts.ended_at is None and old.state == "Failing")
    if facts.problem is not None:
        change |= {"state": "Failing", "reason": facts.problem.reason, "message": facts.problem.message}
    elif suspended or facts.source.suspend:
        change["state"] = "Suspended"
    elif failed:
        change["state"] = "Failing"
    elif healthy:
        change["state"] = "Healthy"
    else:
        change["state"] = "Loading" if facts.running else "Pending"
    return old.model_copy(update=change)


def sources_fact(sources: Sequence[SourceStatus]) -> Fact:
    """Whether every source that takes part is healthy; the message names each that is not."""
    failing = [s for s in sources if s.state == "Failing"]
    if failing:
        told = "; ".join(
            f"{s.name}: {s.message} ({s.reason})" if s.reason else f"{s.name}: {s.message}" for s in failing
        )
        return Fact(False, failing[0].reason or "LoadFailed", told[:2048])
    waiting = [s.name for s in sources if s.state in ("Pending", "Loading")]
    if waiting:
        return Fact(None, "FirstLoad", f"waiting for the first load of {', '.join(waiting)}")
    return Fact(True, "Loaded", "every source that is not suspended has loaded")


def transform_fact(status: TransformStatus, *, running: bool, pending: str) -> Fact:
    """Whether gold stands on a successful transform; a failed one makes it False although the last good gold stays."""
    if status.failures:
        return Fact(
            False,
            "TransformFailed",
            f"transform {status.sequence} failed ({status.failures} in a row): {status.message}"[:2048],
        )
    if status.last_success_time is None:
        return Fact(
            None, "Running" if running else "WaitingForLoads", "the first transform is running" if running else pending
        )
    return Fact(True, "Succeeded", f"transform {status.sequence} succeeded: {status.models}; tests: {status.tests}")


Verdict = Literal["True", "False", "Unknown"]


def _condition(old: Iterable[Condition], name: str, fact: Fact, generation: int, now: datetime) -> Condition:
    status: Verdict = "Unknown" if fact.holds is None else "True" if fact.holds else "False"
    before = next((c for c in old if c.type == name), None)
    since = before.last_transition_time if before and before.status == status else now
    return Condition(
        type=name,
        status=status,
        reason=fact.reason,
        message=fact.message,
        observed_generation=generation,
        last_transition_time=since,
    )


def assemble(
    *,
    stack: ObservabilityStack,
    now: datetime,
    store: Fact,
    sources: Sequence[SourceStatus],
    transform: TransformStatus,
    transform_running: bool,
    transform_pending: str,
    api: Fact,
    api_url: str,
    refused: Mapping[str, Fact] | None = None,
) -> StackStatus:
    """The whole status. Ready means: the store answers, every source is loaded, gold is built, the API serves it.

    `refused` overrules conditions, by name: what the runtime was not allowed to make.
    """
    facts = {
        "SpecAccepted": Fact(True, "Valid"),
        "StoreReady": store,
        "SourcesHealthy": sources_fact(sources),
        "Transformed": transform_fact(transform, running=transform_running, pending=transform_pending),
        "APIReady": api,
        **(refused or {}),
    }
    blocking = [(name, fact) for name, fact in facts.items() if fact.holds is not True]
    false = [(name, fact) for name, fact in blocking if fact.holds is False]
    if stack.spec.suspend:
        ready = Fact(False, "Suspended", "the stack is suspended: no loads, no transforms; set spec.suspend to false")
    elif blocking:
        name, fact = (false or blocking)[0]
        ready = Fact(False, fact.reason, f"{name}: {fact.message}" if fact.message else f"{name} is not met")
    else:
        ready = Fact(True, "Ready", "the store answers, every source is loaded, gold is built, the API serves it")
    old = stack.status.conditions
    generation = stack.metadata.generation
    active = [s for s in sources if s.state != "Suspended"]
    loads = [s.last_load_time for s in sources if s.last_load_time is not None]
    return StackStatus(
        observed_generation=generation,
        conditions=[_condition(old, n, f, generation, now) for n, f in {"Ready": ready, **facts}.items()],
        sources=list(sources),
        healthy_sources=f"{sum(s.state == 'Healthy' for s in sources)}/{len(active)}",
        last_load_time=max(loads) if loads else None,
        last_transform_time=transform.last_success_time,
        transform=transform,
        api_url=api_url,
    )


def refused(stack_status: StackStatus, *, generation: int, now: datetime, message: str) -> StackStatus:
    """The status of a stack whose spec cannot be read: nothing is changed, what runs goes on."""
    told = Fact(False, "InvalidSpec", message)
    old = stack_status.conditions
    new = [_condition(old, name, told, generation, now) for name in ("Ready", "SpecAccepted")]
    kept = [c for c in old if c.type not in ("Ready", "SpecAccepted")]
    return stack_status.model_copy(update={"observed_generation": generation, "conditions": [*new, *kept]})
