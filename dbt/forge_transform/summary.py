"""The summary of a transform, from how its nodes ended. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from forge_stack.wire import NodeCounts, NodeFailure, Problem, TransformSummary

from forge_transform.result import BuildResult, Node


def summarise(result: BuildResult, rows: dict[str, int], seconds: float) -> TransformSummary:
    """Succeeded when every node did; what was skipped was so because something before it failed."""
    failed = [node for node in result.nodes if node.status == "failed"]
    skipped = [node for node in result.nodes if node.status == "skipped"]
    problem = _problem(result, failed)
    return TransformSummary(
        outcome="failed" if problem else "succeeded",
        models=_counts(result.nodes, "model"),
        tests=_counts(result.nodes, "test"),
        rows=rows,
        duration_seconds=round(seconds, 3),
        failures=[NodeFailure(node=node.name, message=short(node.message)) for node in [*failed, *_lost(skipped)]],
        error=problem,
    )


def idle(rows: dict[str, int], seconds: float) -> TransformSummary:
    """The summary of a transform that had nothing to do."""
    return TransformSummary(outcome="succeeded", rows=rows, duration_seconds=round(seconds, 3))


def failure(problem: Problem, seconds: float) -> TransformSummary:
    """The summary of a transform that failed before dbt ran."""
    return TransformSummary(outcome="failed", duration_seconds=round(seconds, 3), error=problem)


def stopped(rows: dict[str, int], seconds: float) -> TransformSummary:
    """The summary of a transform that was told to stop."""
    return TransformSummary(
        outcome="stopped",
        rows=rows,
        duration_seconds=round(seconds, 3),
        error=Problem(
            reason="Internal",
            message="stopped by SIGTERM; every table of gold is whole, the next transform takes the same loads again",
        ),
    )


def short(message: str) -> str:
    """What is wrong in dbt's and ClickHouse's messages, as one line of at most 300 characters."""
    if broken := re.findall(r"^\s*\|\s*(\w+)\s*\|([^|]*)\|([^|]*)\|([^|]*)\|\s*$", message, re.MULTILINE):
        columns = [tuple(cell.strip() for cell in row) for row in broken if row[0] != "column_name"]
        text = "breaks its contract: " + ", ".join(
            f"{name}: {why} (is {is_ or 'absent'}, must be {must or 'absent'})" for name, is_, must, why in columns
        )
    else:
        lines = [line.strip() for line in message.splitlines() if line.strip()]
        text = " ".join(line for line in lines if not re.match(r"(compiled code at|(Database|Runtime) Error)", line))
        text = re.sub(r"\s*\(version [^)]*(\)[^)]*)?\)", "", re.sub(r"HTTPDriver .*?(?=Code: |DB::)", "", text))
    return text if len(text) <= 300 else text[:299] + "…"


def _counts(nodes: Sequence[Node], kind: str) -> NodeCounts:
    statuses = [node.status for node in nodes if node.kind == kind]
    return NodeCounts(
        ok=statuses.count("ok") + statuses.count("warned"),
        failed=statuses.count("failed"),
        skipped=statuses.count("skipped"),
    )


def _lost(skipped: Sequence[Node]) -> list[Node]:
    """Gold tables that were not rebuilt: that is what people will notice."""
    return [
        Node(node.name, node.kind, node.status, "not rebuilt: something before it failed")
        for node in skipped
        if node.kind == "model"
    ]


def _problem(result: BuildResult, failed: Sequence[Node]) -> Problem | None:
    """Why the transform failed: a contract or model first, since tests fail for what models did."""
    if failed:
        models = [node for node in failed if node.kind != "test"]
        first = (models or failed)[0]
        others = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        contract = any("enforced contract" in node.message for node in models)
        return Problem(
            reason="SchemaViolation" if contract else "Internal" if models else "TestsFailed",
            message=f"{first.name}{others}: {short(first.message)}",
        )
    if result.error is not None:
        return Problem(reason="Internal", message=f"dbt did not run: {short(str(result.error))}")
    if not result.nodes:
        return Problem(reason="Internal", message="dbt built nothing; the selection matched no model")
    return None
