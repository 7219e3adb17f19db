"""What a number means, where the money went, and where tickets wait for people."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any, Final, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field

from forge_api.listings import PATHS, PREFIX, Wanted, parameter
from forge_api.models import Answer, Funnel, FunnelGate, RejectionReason, Usd, made
from forge_api.problems import documented
from forge_api.queries import COST_KEYS, COST_SUMS, GATES, WAITS
from forge_api.routes.listings import Filters, ListQuery, answer_field, asks, filter_field, time_fields
from forge_api.routes.shared import GoldStore, TaggedRoute, link_next
from forge_api.tables import approval_funnel, cost_attribution, metrics

router = APIRouter(route_class=TaggedRoute)

_FROM_PULL_REQUESTS: Final = frozenset(GATES) - {"proposed", "plan_approved"}


# --- the catalogue ---

MetricDefinition = made(
    "MetricDefinition",
    Answer,
    {column.name: answer_field(column) for column in metrics.columns}
    | {
        "values_at": (str | None, Field(description="Where this API has them.", examples=["/api/v1/metrics/dora"])),
        "rows_at": (
            str | None,
            Field(description="Where it has the rows that say why.", examples=["/api/v1/deployments"]),
        ),
    },
    "The contract of one number.",
)


class Metrics(Answer):
    """The catalogue."""

    items: list[MetricDefinition]  # type: ignore[valid-type]


@router.get("/metrics", tags=["metrics"], summary="What each number means", responses=documented(401, 500, 503, 504))
def list_metrics(gold: GoldStore) -> Metrics:
    """One element a number: definition, formula, unit, what it leaves out, whether this stack can tell it, and where
    its values and the rows behind them are."""

    def at(table: str) -> str | None:  # gold may be of another release, with a table that this one does not know
        return f"{PREFIX}{PATHS[table]}" if table in PATHS else None

    return Metrics(
        items=[{**row, "values_at": at(row["model"]), "rows_at": at(row["drill_down"])} for row in gold.metrics()]
    )


# --- the money ---

_Key = Literal[tuple(parameter(name) for name in COST_KEYS)]  # type: ignore[valid-type]


class _CostQuery(ListQuery):
    by: list[_Key] = Field(  # type: ignore[valid-type]
        [], max_length=len(COST_KEYS), description="Part the cost by these; without it, totals alone."
    )


CostQuery = made(
    "CostQuery",
    _CostQuery,
    {
        parameter(name): filter_field(cost_attribution.c[name])
        for name in COST_KEYS
        if name not in ("day", "link_confidence")
    }
    | time_fields(cost_attribution.c.day),
)


def _key_field(name: str) -> tuple[Any, Any]:
    kind, _ = answer_field(cost_attribution.c[name])
    return (kind, Field(None, description=cost_attribution.c[name].comment))


CostGroup = made(
    "CostGroup",
    Answer,
    {parameter(name): _key_field(name) for name in COST_KEYS}
    | {name: answer_field(cost_attribution.c[name]) for name in COST_SUMS},
    "Cost of one combination of the keys that were asked for; other keys are left out.",
)


class Costs(Answer):
    """What agents cost, US dollars. `attributed_usd` and `unattributed_usd` add up to `total_usd`, to the last digit,
    and `total_usd` is that of all calls that the filters leave. Null when no Langfuse source ever loaded."""

    total_usd: Usd | None = Field(description="All of it: of failed runs and abandoned tickets too.")
    attributed_usd: Usd | None = Field(description="The part whose call names a ticket.")
    unattributed_usd: Usd | None = Field(description="The part whose call names none.")
    items: list[CostGroup] = Field(description="By the keys of `by`.")  # type: ignore[valid-type]
    next: str | None = Field(
        description="Pass it as `next`, with the same filters, for the next page; null at the end."
    )
    missing_sources: list[str] = Field(description="`langfuse`, when none ever loaded.")


@router.get(
    "/costs",
    tags=["costs"],
    summary="Where the money of agents went",
    responses=documented(400, 401, 422, 500, 503, 504),
    response_model=Costs,
    response_model_exclude_unset=True,
)
@asks(CostQuery)
def list_costs(gold: GoldStore, request: Request, response: Response, query: Any) -> Any:
    """Totals, and their parts by any set of keys: newest day first (with `by=day`), then dearest first."""
    wanted: Wanted = query.wanted()
    totals, missing = gold.costs_over(wanted), gold.missing_sources(cost_attribution.name)
    page = gold.cost_groups(wanted, query.next, query.limit) if wanted.by else None
    token = page.next if page else None
    link_next(request, response, token)
    with localcontext(prec=60):  # a store's decimals have 38 digits
        total: Decimal = totals["total_usd"] or Decimal()
        attributed: Decimal = totals["attributed_usd"] or Decimal()
        known = "langfuse" not in missing
        return {
            "total_usd": total if known else None,
            "attributed_usd": attributed if known else None,
            "unattributed_usd": total - attributed if known else None,
            "items": [{parameter(name): value for name, value in row.items()} for row in page.rows] if page else [],
            "next": token,
            "missing_sources": missing,
        }


# --- people's gates ---

FunnelQuery = made(
    "FunnelQuery",
    Filters,
    {parameter(name): filter_field(approval_funnel.c[name]) for name in ("team", "project_key", "issue_type")}
    | time_fields(approval_funnel.c.proposed_at),
)


@router.get(
    "/approvals/funnel",
    tags=["why"],
    summary="The human-approval funnel over a window",
    responses=documented(401, 422, 500, 503, 504),
)
@asks(FunnelQuery)
def get_funnel(gold: GoldStore, query: Any) -> Funnel:
    """How many tickets passed each gate, how long they waited for it, and why people rejected. By period of the
    proposal: `/metrics/approvals`."""
    row, reasons = gold.funnel(query.wanted())
    missing = gold.missing_sources(approval_funnel.name)
    proposed = row["proposed"]

    def gate(name: str) -> FunnelGate:
        known = not ("jira" in missing or ("github" in missing and name in _FROM_PULL_REQUESTS))
        return FunnelGate(
            gate=name,
            tickets=row[name] if known else None,
            conversion=row[name] / proposed if known and proposed else None,
            **{f"wait_seconds_{statistic}": row.get(f"{name}_{statistic}") for statistic in (*WAITS, "mean")},
        )

    return Funnel(
        gates=[gate(name) for name in GATES],
        plan_rejections=(row["plan_rejections"] or 0) if "jira" not in missing else None,
        review_rejections=(row["review_rejections"] or 0) if "github" not in missing else None,
        reasons=[RejectionReason(**reason) for reason in reasons],
        missing_sources=missing,
    )
