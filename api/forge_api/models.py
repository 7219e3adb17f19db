"""What the API answers: the public shapes, with units. Names and meanings are those of the gold tables.

Money is a JSON string of plain digits: exact, where a number would be rounded by most readers. Times are RFC 3339
in UTC. Null means that the source that would tell never loaded, or that it has not happened.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema, create_model


def plain_digits(amount: Decimal) -> str:
    """Decimal digits without exponent or trailing zeros, the same from every store: `0.5`, `12`."""
    digits = format(amount, "f")
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


Usd = Annotated[
    Decimal,
    PlainSerializer(plain_digits, return_type=str),
    WithJsonSchema({"type": "string", "format": "decimal", "pattern": r"^-?\d+(\.\d+)?$", "examples": ["1.284"]}),
]


class Answer(BaseModel):
    """What every answer is."""

    model_config = ConfigDict(extra="forbid")


ModelT = TypeVar("ModelT", bound=BaseModel)


def made(name: str, base: type[ModelT], fields: dict[str, Any], doc: str | None = None) -> type[ModelT]:
    """A model whose fields are known when the program runs: those of a table of gold."""
    return create_model(name, __base__=base, __doc__=doc, **fields)


class Ticket(Answer):
    """One ticket: its flow, its pull requests, and what agents spent on it."""

    ticket_key: str = Field(description="The ticket's key.", examples=["PAY-142"])
    project_key: str | None = Field(description="Its project.", examples=["PAY"])
    summary: str | None = Field(description="Its title.", examples=["Refund twice on retry"])
    issue_type: str | None = Field(description="Its type in Jira.", examples=["Bug"])
    status: str | None = Field(description="Its status in Jira.", examples=["In Review"])
    status_category: str | None = Field(description="`new`, `indeterminate` or `done`.", examples=["done"])
    assignee_name: str | None = Field(description="Who it is assigned to.", examples=["Ada Okafor"])
    created_at: datetime | None = Field(description="When it was created.")
    started_at: datetime | None = Field(description="When it was first in progress.")
    resolved_at: datetime | None = Field(description="When it was resolved.")
    lead_time_seconds: float | None = Field(description="Created to resolved, seconds.", examples=[259200.0])
    cycle_time_seconds: float | None = Field(description="First in progress to resolved, seconds.", examples=[86400.0])
    pull_requests: int | None = Field(description="Pull requests that name the ticket.", examples=[2])
    merged_pull_requests: int | None = Field(description="Those of them that are merged.", examples=[1])
    first_commit_at: datetime | None = Field(description="The earliest commit of its pull requests.")
    first_merged_at: datetime | None = Field(description="The earliest merge of its pull requests.")
    reviews: int | None = Field(description="Reviews of its pull requests.", examples=[3])
    changes_requested: int | None = Field(description="Reviews that asked for changes.", examples=[1])
    traces: int | None = Field(description="Runs of agents linked to it.", examples=[4])
    llm_calls: int | None = Field(description="Calls of a model in those runs.", examples=[37])
    input_tokens: int | None = Field(description="Tokens sent.", examples=[412000])
    output_tokens: int | None = Field(description="Tokens received.", examples=[18400])
    cost_usd: Usd | None = Field(description="What the calls cost, US dollars, exact.")
    is_done: bool | None = Field(description="Whether it is done.")
    in_jira: bool = Field(description="False when only traces or pull requests know it.")


class TicketCost(Answer):
    """What agents spent on one ticket in one stage with one model."""

    stage: str = Field(description="The stage of the workflow.", examples=["implement"])
    model: str = Field(description="The model.", examples=["claude-sonnet-4-5"])
    traces: int = Field(description="Runs of agents.")
    llm_calls: int = Field(description="Calls of the model.")
    input_tokens: int = Field(description="Tokens sent.")
    output_tokens: int = Field(description="Tokens received.")
    total_tokens: int = Field(description="All tokens, cached ones included.")
    cost_usd: Usd = Field(description="US dollars, exact.")
    link_method: str = Field(description="How the trace named its ticket: metadata, session, tag or name.")


class TicketDetail(Answer):
    """A ticket and the costs that make up its cost."""

    ticket: Ticket
    costs: list[TicketCost] = Field(description="By stage and model, dearest first.")


class TicketPage(Answer):
    """A page of tickets."""

    items: list[Ticket]
    next: str | None = Field(
        description="Pass it as `next`, with the same filters, for the next page; null at the end."
    )


class LeadTime(Answer):
    """Lead time, created to resolved, over the tickets that have one; quantiles are linear between values."""

    tickets: int = Field(description="How many tickets the quantiles are made of.", examples=[310])
    median_seconds: float | None = Field(examples=[172800.0])
    p75_seconds: float | None = Field(examples=[345600.0])
    p90_seconds: float | None = Field(examples=[691200.0])


class Cost(Answer):
    """What agents cost, US dollars; null when no Langfuse source ever loaded."""

    total_usd: Usd | None = Field(description="All of it.")
    attributed_usd: Usd | None = Field(description="The part whose trace names a ticket.")
    unattributed_usd: Usd | None = Field(description="The part whose trace names none.")
    done_tickets: int = Field(description="Done tickets that agents worked on.", examples=[120])
    per_done_ticket_usd: Usd | None = Field(description="Mean cost of those tickets, rounded to 12 decimals.")


class ProjectSummary(Answer):
    """One project."""

    project_key: str | None = Field(description="Null for tickets that Jira does not know.", examples=["PAY"])
    tickets: int
    done: int
    median_lead_time_seconds: float | None
    cost_usd: Usd | None


class StageModelCost(Answer):
    """What agents spent in one stage with one model, over all tickets and runs without a ticket."""

    stage: str = Field(examples=["implement"])
    model: str = Field(examples=["claude-sonnet-4-5"])
    llm_calls: int
    total_tokens: int
    cost_usd: Usd
    attributed_usd: Usd = Field(description="The part of it whose trace names a ticket.")


class SourceCoverage(Answer):
    """What one source brought so far."""

    source: str = Field(description="The source's name in the stack.", examples=["github"])
    type: str = Field(description="`langfuse`, `github`, `jira` or `prometheus`.", examples=["github"])
    available: bool = Field(description="Whether it ever loaded.")
    rows: int = Field(description="Rows it brought.")
    newest_event_at: datetime | None = Field(description="The newest thing that it tells of.")
    loads: int = Field(description="Loads that ended well.")
    last_load_at: datetime | None = Field(description="When the last of them ended.")


class Coverage(Answer):
    """All sources."""

    items: list[SourceCoverage]


class Summary(Answer):
    """The stack at a glance."""

    tickets: int = Field(description="All tickets.", examples=[420])
    done: int = Field(description="Done tickets.", examples=[310])
    lead_time: LeadTime
    cost: Cost
    by_project: list[ProjectSummary]
    by_stage_and_model: list[StageModelCost] = Field(description="Dearest first.")
    coverage: list[SourceCoverage]


class PlatformHour(Answer):
    """One hour of one series name: the unit is the metric's own (its name tells, as `_seconds` or `_bytes`)."""

    hour: datetime = Field(description="The hour's begin.")
    query: str = Field(description="The name of the selection in the stack.", examples=["queue_depth"])
    metric: str = Field(description="The metric.", examples=["forge_queue_depth"])
    series: int = Field(description="Series, that is label sets, with samples in the hour.")
    samples: int = Field(description="Samples in the hour.")
    average: float | None = Field(description="Mean of the samples; null when it is not a finite number.")
    minimum: float | None
    maximum: float | None


class PlatformPage(Answer):
    """A page of platform hours, newest first."""

    items: list[PlatformHour]
    next: str | None = Field(
        description="Pass it as `next`, with the same filters, for the next page; null at the end."
    )


class FunnelGate(Answer):
    """One gate on the way of tickets through people's hands. Waits are seconds on the calendar."""

    gate: str = Field(description="`proposed` ... `deployed`, in their order.", examples=["reviewed"])
    tickets: int | None = Field(description="Tickets that passed it so far; null when its source never loaded.")
    conversion: float | None = Field(description="Their share of the tickets proposed, 0 to 1.", examples=[0.84])
    wait_seconds_p50: float | None = Field(description="Median of the waits before it, of those that passed.")
    wait_seconds_p75: float | None = Field(description="75th percentile of the same.")
    wait_seconds_p90: float | None = Field(description="90th percentile of the same.")
    wait_seconds_mean: float | None = Field(description="Mean of the same.")


class RejectionReason(Answer):
    """What people said when they rejected a plan or asked for changes."""

    reason: str = Field(description="Their words.", examples=["Too broad"])
    rejections: int = Field(description="How often.")


class Funnel(Answer):
    """The human-approval funnel over tickets proposed in a window."""

    gates: list[FunnelGate] = Field(description="All gates, in order.")
    plan_rejections: int | None = Field(description="Plans that were rejected.")
    review_rejections: int | None = Field(description="Reviews by people that requested changes.")
    reasons: list[RejectionReason] = Field(description="The most frequent first, 20 at most.")
    missing_sources: list[str] = Field(description="Types of sources that would tell more and never loaded.")


class Health(Answer):
    """The process answers."""

    status: str = Field(examples=["ok"])
