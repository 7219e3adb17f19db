"""Conditions: what is told, and when it changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from forge_stack.model import ObservabilityStack, SourceStatus, StackStatus, TransformStatus
from forge_stack.status import Fact, SourceFacts, assemble, observe_source, refused
from forge_stack.wire import LoadSummary, Problem

T0 = datetime(2026, 1, 1, tzinfo=UTC)
STACK = ObservabilityStack.model_validate(
    {
        "metadata": {"name": "s", "generation": 3},
        "spec": {
            "sources": [
                {"name": "a", "prometheus": {"url": "http://p"}},
                {"name": "b", "prometheus": {"url": "http://q"}},
            ]
        },
    }
)
A, B = STACK.spec.sources
GOOD = LoadSummary(source="a", outcome="succeeded", rows={"samples": 5}, requests=2, cursor="c1")


def status(
    *sources: SourceStatus,
    now: datetime = T0,
    before: StackStatus | None = None,
    transform: TransformStatus | None = None,
) -> StackStatus:
    return assemble(
        stack=STACK.model_copy(update={"status": before or StackStatus()}),
        now=now,
        store=Fact(True, "Answers"),
        sources=sources,
        transform=transform or TransformStatus(sequence=1, last_success_time=T0, models="3 ok"),
        transform_running=False,
        transform_pending="",
        api=Fact(True, "Available"),
        api_url="http://s-api",
    )


def condition(of: StackStatus, name: str) -> tuple[str, str, str]:
    found = next(c for c in of.conditions if c.type == name)
    return found.status, found.reason, found.message


def healthy(source: object = A) -> SourceStatus:
    return observe_source(None, SourceFacts(source, ended_at=T0, succeeded=True, summary=GOOD), suspended=False)  # type: ignore[arg-type]


def test_ready_when_all_holds() -> None:
    now = status(healthy(A), healthy(B))
    assert condition(now, "Ready")[0] == "True"
    assert now.healthy_sources == "2/2"
    assert now.last_load_time == T0
    assert now.observed_generation == 3


def test_a_failing_source_is_named_with_what_to_do() -> None:
    bad = LoadSummary(
        source="b", outcome="failed", error=Problem(reason="Unauthorized", message="token refused; renew it")
    )
    failing = observe_source(healthy(B), SourceFacts(B, ended_at=T0, succeeded=False, summary=bad), suspended=False)
    now = status(healthy(A), failing)
    assert condition(now, "SourcesHealthy") == ("False", "Unauthorized", "b: token refused; renew it (Unauthorized)")
    assert condition(now, "Ready")[0] == "False"
    assert failing.last_success_time == T0, "what was known stays"
    assert failing.rows == {"samples": 5}
    later = observe_source(failing, SourceFacts(B), suspended=False)
    assert (later.state, later.message) == ("Failing", "token refused; renew it"), "the failure outlives its Job"
    mended = observe_source(later, SourceFacts(B, ended_at=T0, succeeded=True, summary=GOOD), suspended=False)
    assert (mended.state, mended.message, mended.reason) == ("Healthy", "", "")


def test_first_loads_are_waited_for() -> None:
    new = observe_source(None, SourceFacts(B, running=True), suspended=False)
    assert new.state == "Loading"
    assert condition(status(healthy(A), new), "SourcesHealthy") == (
        "Unknown",
        "FirstLoad",
        "waiting for the first load of b",
    )


def test_a_running_load_does_not_hide_health() -> None:
    assert observe_source(healthy(A), SourceFacts(A, running=True), suspended=False).state == "Healthy"


def test_a_problem_before_the_load_wins() -> None:
    problem = Problem(reason="InvalidConfiguration", message="Secret x is missing; create it")
    told = observe_source(healthy(A), SourceFacts(A, problem=problem), suspended=False)
    assert (told.state, told.message) == ("Failing", "Secret x is missing; create it")
    assert (
        observe_source(told, SourceFacts(A, ended_at=T0, succeeded=True, summary=GOOD), suspended=False).state
        == "Healthy"
    )


def test_suspended_sources_do_not_count() -> None:
    asleep = observe_source(healthy(B), SourceFacts(B), suspended=True)
    now = status(healthy(A), asleep)
    assert now.healthy_sources == "1/1"
    assert condition(now, "SourcesHealthy")[0] == "True"


def test_transition_times_move_only_with_the_status() -> None:
    first = status(healthy(A), healthy(B))
    second = status(healthy(A), healthy(B), now=T0 + timedelta(hours=1), before=first)
    assert second == first
    broken = status(
        healthy(A),
        healthy(B),
        now=T0 + timedelta(hours=2),
        before=second,
        transform=TransformStatus(sequence=2, failures=1, last_success_time=T0, message="model x failed"),
    )
    times = {c.type: c.last_transition_time for c in broken.conditions}
    assert times["Transformed"] == T0 + timedelta(hours=2)
    assert times["StoreReady"] == T0
    assert condition(broken, "Transformed")[1:] == (
        "TransformFailed",
        "transform 2 failed (1 in a row): model x failed",
    )


def test_a_refused_spec_keeps_what_is_known() -> None:
    before = status(healthy(A), healthy(B))
    told = refused(before, generation=4, now=T0, message="spec.sourcez: unknown field")
    assert condition(told, "Ready") == ("False", "InvalidSpec", "spec.sourcez: unknown field")
    assert told.sources == before.sources
    assert told.observed_generation == 4
    assert {c.type for c in told.conditions} == {c.type for c in before.conditions}
