"""The stack at a glance, and what each source brought."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

from fastapi import APIRouter

from forge_api.models import Cost, Coverage, LeadTime, ProjectSummary, SourceCoverage, StageModelCost, Summary
from forge_api.problems import documented
from forge_api.routes.shared import GoldStore, TaggedRoute

router = APIRouter(tags=["summary"], route_class=TaggedRoute)

_TWELVE_DECIMALS = Decimal("1e-12")


@router.get("/summary", summary="The numbers that matter", responses=documented(401, 500, 503, 504))
def get_summary(gold: GoldStore) -> Summary:
    """Tickets done, lead time, cost of agents by stage and model, and how far each source has come."""
    flow, costs, coverage = gold.flow(), gold.costs(), gold.coverage()
    known = any(row["type"] == "langfuse" and row["available"] for row in coverage)
    return Summary(
        tickets=flow["tickets"],
        done=flow["done"],
        lead_time=LeadTime(
            tickets=flow["measured"],
            median_seconds=flow["median"],
            p75_seconds=flow["p75"],
            p90_seconds=flow["p90"],
        ),
        cost=_cost(flow, gold.costs_total(), known=known or bool(costs)),
        by_project=[ProjectSummary(**row) for row in gold.by_project()],
        by_stage_and_model=[StageModelCost(**{**row, "attributed_usd": row["attributed_usd"] or 0}) for row in costs],
        coverage=[SourceCoverage(**row) for row in coverage],
    )


@router.get("/coverage", summary="What each source brought", responses=documented(401, 500, 503, 504))
def get_coverage(gold: GoldStore) -> Coverage:
    """One element a source: whether it loaded, how much, and how fresh it is."""
    return Coverage(items=[SourceCoverage(**row) for row in gold.coverage()])


def _cost(flow: dict[str, Any], over_all: dict[str, Any], known: bool) -> Cost:
    """Cost over all; null when nothing was spent as far as anybody knows (no Langfuse source ever loaded)."""
    tickets: int = flow["done_by_agents"]
    spent: Decimal | None = flow["cost_of_done_by_agents"]
    with localcontext(prec=60):  # a store's decimals have 38 digits
        total: Decimal = over_all["total_usd"] or Decimal()
        attributed: Decimal = over_all["attributed_usd"] or Decimal()
        return Cost(
            total_usd=total if known else None,
            attributed_usd=attributed if known else None,
            unattributed_usd=total - attributed if known else None,
            done_tickets=tickets,
            per_done_ticket_usd=(spent / tickets).quantize(_TWELVE_DECIMALS) if tickets and spent is not None else None,
        )
