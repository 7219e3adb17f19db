"""The platform by the hour: the `forge_*` series that Prometheus brought."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from forge_api.models import PlatformHour, PlatformPage
from forge_api.problems import documented
from forge_api.queries import PlatformFilter
from forge_api.routes.shared import GoldStore, Moment, PageToken, TaggedRoute, Word, finite, link_next

router = APIRouter(tags=["platform"], route_class=TaggedRoute)


class PlatformQuery(BaseModel):
    """The parameters of the list; an unknown one is refused."""

    model_config = ConfigDict(extra="forbid")

    query: list[Word] = Field([], max_length=100, description="Name of a selection; repeat it for several.")
    metric: list[Word] = Field([], max_length=100, description="Name of a metric; repeat it for several.")
    after: Moment | None = Field(None, description="Hours that begin at this time or later: RFC 3339, or a day in UTC.")
    before: Moment | None = Field(None, description="Hours that begin before this time.")
    limit: int = Field(500, ge=1, le=5000, description="Hours a page.")
    next: PageToken = None


@router.get("/platform", summary="Platform metrics by the hour", responses=documented(400, 401, 422, 500, 503, 504))
def list_platform(
    gold: GoldStore, request: Request, response: Response, query: Annotated[PlatformQuery, Query()]
) -> PlatformPage:
    """Average, minimum and maximum a metric and hour, newest first."""
    wanted = PlatformFilter(query=query.query, metric=query.metric, after=query.after, before=query.before)
    page = gold.platform(wanted, query.next, query.limit)
    link_next(request, response, page.next)
    return PlatformPage(items=[PlatformHour(**finite(row)) for row in page.rows], next=page.next)
