"""Continuous integration by period."""

from __future__ import annotations

from collections.abc import Mapping

from forge_demo.oracle.known import Known, Run
from forge_demo.oracle.periods import Cells, Row, scopes, seconds, share, stats
from forge_demo.oracle.pulls import FAILED


def ci_metrics(known: Known) -> list[Row]:
    """A row a period, scope and workflow ('': all), of the runs that came to a verdict."""
    cells = Cells("workflow")
    for run in known.runs:
        if run.conclusion(run.last) in ("success", "failure"):
            where = scopes(known.team(run.repo), None, run.repo.full_name)
            cells.add("runs", run.created_at, where, run, (("",), (run.name,)))

    def numbers(facts: Mapping[str, list[Run]]) -> Row:
        runs = facts["runs"]
        passed = sum(run.conclusion(run.last) == "success" for run in runs)
        at_once = sum(run.conclusion(1) == "success" for run in runs)
        flaky = sum(
            run.conclusion(1) in FAILED and any(run.conclusion(n) == "success" for n in range(2, run.last + 1))
            for run in runs
        )
        return {
            "runs": len(runs),
            "attempts": sum(run.last for run in runs),
            "passed": passed,
            "pass_rate": share(passed, len(runs)),
            "first_attempt_passed": at_once,
            "first_attempt_pass_rate": share(at_once, len(runs)),
            "flaky_runs": flaky,
            "flake_rate": share(flaky, len(runs)),
            **stats("duration_seconds", (seconds(run.began(run.last), run.ended(run.last)) for run in runs)),
        }

    return cells.rows(numbers)
