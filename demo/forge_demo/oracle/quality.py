"""What verdicts were worth: scores against what became of the work."""

from __future__ import annotations

from typing import Any

from forge_demo import organisation as org
from forge_demo.oracle import costs, pulls
from forge_demo.oracle.known import Known, Score, once
from forge_demo.oracle.periods import Row, share


@once
def quality_outcomes(known: Known) -> list[Row]:
    """A row a score."""
    flow = pulls.pull_request_flow(known)
    return [_outcome(known, score, flow) for score in known.scores]


def _outcome(known: Known, score: Score, flow: list[Row]) -> Row:
    it, trace = score.added, known.trace(score.added.trace)
    of_trace = it.session is None
    # A verdict on a session knows its ticket, if the session is called like one, and no trace.
    ticket = trace.ticket if of_trace else known.ticket(it.session)
    since = trace.ingested.timestamp if of_trace else score.at
    mine = sorted(
        (row for row in flow if ticket and row["ticket_key"] == known.key(ticket)),
        key=lambda row: (row["created_at"], row["repository_id"], row["pull_request_number"]),
    )
    after = [row for row in mine if row["created_at"] >= since]
    meant: Row = after[0] if after else mine[-1] if mine else {}
    text = {"BOOLEAN": str(score.value == 1), "CATEGORICAL": it.text}.get(it.kind)
    return {
        "score_id": it.id,
        "project_id": org.LANGFUSE_PROJECT_ID,
        "score_name": it.name,
        "score_source": it.source,
        "data_type": it.kind,
        "value": None if it.kind == "CATEGORICAL" else float(score.value),
        "string_value": text,
        "trace_id": it.trace if of_trace else None,
        "ticket_key": known.key(ticket),
        "stage": trace.stage if of_trace else "",
        "scored_at": score.at,
        "is_merged": meant.get("is_merged"),
        "is_first_pass": meant.get("is_first_pass"),
        "first_ci_conclusion": meant.get("first_ci_conclusion"),
        "is_reverted": meant.get("is_reverted"),
        "ticket_outcome": costs.outcome(known, ticket) if ticket else None,
    }


def _bin(row: Row) -> str:
    value = row["value"]
    if row["data_type"] == "BOOLEAN":
        return str(int(value))
    if row["data_type"] != "NUMERIC":
        return row["string_value"] or ""
    if value < 0 or value > 1:
        return "below 0" if value < 0 else "above 1"
    return ("[0,0.25)", "[0.25,0.5)", "[0.5,0.75)", "[0.75,1]")[min(int(value * 4), 3)]


def quality_metrics(known: Known) -> list[Row]:
    """A row a score's name and bin of its values."""
    cells: dict[tuple[str, str], list[Row]] = {}
    for row in quality_outcomes(known):
        cells.setdefault((row["score_name"], _bin(row)), []).append(row)
    return [dict(zip(("score_name", "bin"), key, strict=True)) | _rates(rows) for key, rows in cells.items()]


def _rates(rows: list[Row]) -> Row:
    there = [row for row in rows if row["is_merged"] is not None]
    merged = [row for row in there if row["is_merged"]]

    def rate(column: str, good: Any) -> float | None:
        known = [row[column] for row in there if row[column] is not None]
        return share(sum(value == good for value in known), len(known))

    return {
        "scores": len(rows),
        "with_pull_request": len(there),
        "merged_rate": share(len(merged), len(there)),
        "first_pass_rate": rate("is_first_pass", True),
        "ci_pass_rate": rate("first_ci_conclusion", "success"),
        "reverted_rate": share(sum(row["is_reverted"] for row in merged), len(merged)),
    }
