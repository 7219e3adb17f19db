"""The tickets: a list with filters, order and pages, and one ticket with its costs."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi import Path as PathParameter
from pydantic import BaseModel, ConfigDict, Field

from forge_api.models import Ticket, TicketCost, TicketDetail, TicketPage
from forge_api.problems import documented
from forge_api.queries import TICKET_SORTS, TicketFilter
from forge_api.routes.shared import GoldStore, Moment, PageToken, TaggedRoute, Word, link_next

router = APIRouter(tags=["tickets"], route_class=TaggedRoute)

SORTS = [f"{sign}{name}" for name in TICKET_SORTS for sign in ("", "-")]
Dollars = Annotated[Decimal, Field(ge=0, max_digits=38, decimal_places=12)]


class TicketQuery(BaseModel):
    """The parameters of the list. An unknown one is refused, so that a misspelt filter does not pass for no filter."""

    model_config = ConfigDict(extra="forbid")

    project: list[Word] = Field(
        [], max_length=100, description="Project key; repeat it for several.", examples=[["PAY"]]
    )
    status_category: list[Literal["new", "indeterminate", "done"]] = Field([], description="Repeat it for several.")
    issue_type: list[Word] = Field([], max_length=100, description="Repeat it for several.", examples=[["Bug"]])
    assignee: list[Word] = Field([], max_length=100, description="The assignee's name; repeat it for several.")
    created_after: Moment | None = Field(None, description="Created at this time or later: RFC 3339, or a day in UTC.")
    created_before: Moment | None = Field(None, description="Created before this time.")
    resolved_after: Moment | None = Field(None, description="Resolved at this time or later.")
    resolved_before: Moment | None = Field(None, description="Resolved before this time.")
    min_cost: Dollars | None = Field(None, description="Cost at least, US dollars.", examples=["2.50"])
    max_cost: Dollars | None = Field(None, description="Cost at most, US dollars.")
    has_pull_request: bool | None = Field(None, description="With a pull request, or certainly without one.")
    search: Word | None = Field(None, description="Part of the key or the summary, letter case aside.")
    sort: str = Field(
        "-created_at",
        description="`-` before the name: descending. Nulls come last either way.",
        pattern=f"^({'|'.join(SORTS)})$",
        json_schema_extra={"enum": [*SORTS]},
    )
    limit: int = Field(50, ge=1, le=500, description="Tickets a page.")
    next: PageToken = None

    def filter(self) -> TicketFilter:
        """The filters among the parameters."""
        return TicketFilter(**self.model_dump(exclude={"sort", "limit", "next"}))


@router.get("/tickets", summary="List tickets", responses=documented(400, 401, 422, 500, 503, 504))
def list_tickets(
    gold: GoldStore, request: Request, response: Response, query: Annotated[TicketQuery, Query()]
) -> TicketPage:
    """Tickets in the order of `sort`, the key breaking ties. Follow `next` (or `Link: rel="next"`) to the end; a page
    begins after the last ticket of the one before, so tickets that arrive meanwhile shift nothing."""
    page = gold.tickets(query.filter(), query.sort, query.next, query.limit)
    link_next(request, response, page.next)
    return TicketPage(items=[Ticket(**row) for row in page.rows], next=page.next)


@router.get("/tickets/{key}", summary="One ticket and its costs", responses=documented(401, 404, 422, 500, 503, 504))
def get_ticket(
    gold: GoldStore, key: Annotated[Word, PathParameter(description="The ticket's key.", examples=["PAY-142"])]
) -> TicketDetail:
    """The ticket, and what agents spent on it by stage and model."""
    found = gold.ticket(key)
    if found is None:
        raise HTTPException(404, f"there is no ticket {key}")
    ticket, costs = found
    return TicketDetail(ticket=Ticket(**ticket), costs=[TicketCost(**row) for row in costs])
