"""What an agent's run leaves in Langfuse: one trace with nested observations, by the trace contract.

Session id = ticket key; metadata `ticket`, `stage`, `repo`, `event`, `attempt`; tags `ticket:<key>`, `stage:<stage>`. A
few runs keep only a part of it, as real ones do: only the session, only the tags, or only the key in the name.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from forge_demo import organisation as org
from forge_demo.events import Observation, TraceIngested
from forge_demo.pen import Pen

NOTE = (
    "The agent read the ticket, the repository's guide and the last reviews, and noted what a careful engineer would. "
)
_STEPS = {"plan": (2, 3), "implement": (3, 6), "review_fix": (1, 4), "chat": (1, 2)}
_MODELS = {
    "plan": {"claude-sonnet-4-5": 8, "gpt-5-mini": 2},
    "implement": {"claude-sonnet-4-5": 9, "claude-haiku-4-5": 1},
    "review_fix": {"claude-haiku-4-5": 7, "claude-sonnet-4-5": 3},
    "chat": {"gpt-5-mini": 1},
}


def trace_cost(trace: TraceIngested) -> Decimal:
    """US dollars: the sum of its generations."""
    return sum((observation_cost(o) for o in trace.observations), Decimal(0))


def observation_cost(observation: Observation) -> Decimal:
    """US dollars; 0 of what carries no usage."""
    return sum(cost_parts(observation).values(), Decimal(0))


def cost_parts(observation: Observation) -> dict[str, Decimal]:
    """US dollars by kind of token, with Langfuse's names; empty of what carries no usage."""
    if observation.model is None or observation.input_tokens is None or observation.output_tokens is None:
        return {}
    model = org.MODELS_BY_NAME[observation.model]
    parts = {
        "input": model.input_price * observation.input_tokens,
        "output": model.output_price * observation.output_tokens,
    }
    if observation.cached_tokens:
        parts["cache_read_input_tokens"] = model.cache_read_price * observation.cached_tokens
    return parts


def stage_trace(
    pen: Pen,
    *,
    ticket: str,
    run: str,
    stage: str,
    event: str,
    attempt: int,
    repository: str,
    summary: str,
    failed: bool,
) -> TraceIngested:
    """The trace of one stage's run; the pen is at its start, and after it at its end."""
    metadata = {
        "ticket": ticket,
        "stage": stage,
        "repo": repository,
        "event": event,
        "attempt": str(attempt),
        "run": run,
    }
    tags: tuple[str, ...] = (f"ticket:{ticket}", f"stage:{stage}", "forge")
    session: str | None = ticket
    name = f"forge.{stage}"
    kept = pen.weighted({"all": 86, "session": 5, "tags": 5, "name": 4})
    if kept != "all":
        metadata = {"run": run}
        session = ticket if kept == "session" else None
        tags = (f"ticket:{ticket}", f"stage:{stage}") if kept == "tags" else ("forge",)
        name = f"{stage} {ticket}" if kept == "name" else name
    metadata["summary"] = f"{summary}. {NOTE * pen.number(1, 4)}".strip()
    return _trace(
        pen, ticket, name, stage, session, org.STAGE_AGENTS[stage].login, tags, metadata, "production", failed
    )


def chat_trace(pen: Pen) -> TraceIngested:
    """Somebody talks to a model outside any ticket: its cost belongs to no ticket."""
    metadata = {"channel": pen.one_of(("slack", "console"))}
    environment = pen.weighted({"production": 7, "staging": 3})
    return _trace(
        pen,
        None,
        "adhoc-chat",
        "chat",
        f"chat-{pen.hex(8)}",
        pen.one_of(org.PEOPLE).login,
        (),
        metadata,
        environment,
        False,
    )


def _trace(
    pen: Pen,
    ticket: str | None,
    name: str,
    stage: str,
    session: str | None,
    user: str,
    tags: tuple[str, ...],
    metadata: dict[str, str],
    environment: str,
    failed: bool,
) -> TraceIngested:
    began, root = pen.millis, pen.hex(16)
    carried = tuple((k, v) for k, v in metadata.items() if k != "summary")
    children = _steps(pen, root, stage, carried, failed)
    ended = pen.millis
    whole = Observation(
        root,
        None,
        "AGENT" if stage != "chat" else "SPAN",
        name,
        began,
        ended,
        level="ERROR" if failed else "DEFAULT",
        status_message="the run gave up" if failed else None,
        metadata=tuple(metadata.items()),
    )
    late = pen.chance(0.05)
    ingested = ended + timedelta(seconds=pen.number(300, 840) if late else pen.number(1, 9))
    return TraceIngested(
        ingested,
        ticket,
        id=pen.hex(32),
        name=name,
        timestamp=began,
        session=session,
        user=user,
        environment=environment,
        release="2025.11.0",
        version=None,
        tags=tuple(sorted(tags)),
        metadata=tuple(metadata.items()),
        observations=(whole, *children),
    )


def _steps(pen: Pen, root: str, stage: str, metadata: tuple[tuple[str, str], ...], failed: bool) -> list[Observation]:
    """Spans around generations and tools, one after another; a failed run ends in a generation without usage."""
    made: list[Observation] = []
    steps = pen.number(*_STEPS[stage])
    for step in range(steps):
        began, span = pen.millis, pen.hex(16)
        inner = [_generation(pen, span, stage, metadata, failed=failed and step == steps - 1)]
        if pen.chance(0.6) and stage != "chat":
            at = pen.millis
            pen.wait_seconds(0.2, 9)
            tool = pen.one_of(("read_file", "edit_file", "run_tests", "search_code"))
            inner.append(Observation(pen.hex(16), span, "TOOL", tool, at, pen.millis, metadata=metadata))
        made.append(Observation(span, root, "SPAN", f"step-{step + 1}", began, pen.millis, metadata=metadata))
        made += inner
    return made


def _generation(
    pen: Pen, parent: str, stage: str, metadata: tuple[tuple[str, str], ...], *, failed: bool
) -> Observation:
    began: datetime = pen.millis
    model = pen.weighted(_MODELS[stage])
    pen.wait_seconds(0.3, 2.5)
    first_token = pen.millis
    pen.wait_seconds(2, 80 if stage == "implement" else 35)
    done = Observation(
        pen.hex(16),
        parent,
        "GENERATION",
        f"{stage}-completion",
        began,
        pen.millis,
        first_token,
        model=model,
        prompt_name=f"forge-{stage}" if stage != "chat" else None,
        prompt_version=pen.number(1, 4) if stage != "chat" else None,
        metadata=metadata,
        input="Ticket, guide and files …",
        output="Done: 完了 ✓",
    )
    if failed:
        return Observation(
            done.id,
            parent,
            "GENERATION",
            done.name,
            began,
            done.ended_at,
            None,
            "ERROR",
            "529 overloaded",
            model,
            metadata=metadata,
        )
    cached = int(pen.spread(9000, 0.5)) if model.startswith("claude") and pen.chance(0.7) else 0
    return replace(
        done,
        input_tokens=int(pen.spread(6000 if stage != "chat" else 900, 0.7)),
        output_tokens=int(pen.spread(1100, 0.6)),
        cached_tokens=cached,
    )
