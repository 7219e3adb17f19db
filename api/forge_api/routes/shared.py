"""What the routes share: the repository as a dependency, entity tags, and the parameters that several take."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from datetime import UTC, date, datetime, time
from math import isfinite
from typing import Annotated, Any, cast

from fastapi import Depends, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BeforeValidator, StringConstraints

from forge_api.repository import Gold


def _gold(request: Request) -> Gold:
    return cast(Gold, request.app.state.gold)


GoldStore = Annotated[Gold, Depends(_gold)]


def _day_begins(value: Any) -> Any:
    if isinstance(value, str) and len(value) == 10:
        try:
            return datetime.combine(date.fromisoformat(value), time(), UTC)
        except ValueError:
            return value
    return value


def _in_utc(value: datetime) -> datetime:
    # The range of a ClickHouse DateTime; the hours of gold.platform_hourly are of that type.
    value = value.replace(tzinfo=UTC) if value.tzinfo is None else value
    if not datetime(1970, 1, 2, tzinfo=UTC) <= value <= datetime(2106, 1, 1, tzinfo=UTC):
        raise ValueError("the time must lie between 1970 and 2106")
    return value.astimezone(UTC)


Moment = Annotated[datetime, BeforeValidator(_day_begins), AfterValidator(_in_utc)]
"""RFC 3339, or a day, which begins at midnight UTC; without an offset it is UTC."""


def _in_range(value: date) -> date:
    if not date(1970, 1, 2) <= value <= date(2106, 1, 1):
        raise ValueError("the day must lie between 1970 and 2106")
    return value


Day = Annotated[date, AfterValidator(_in_range)]

Word = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
"""Text for a comparison; PostgreSQL knows no NUL."""

PageToken = Annotated[
    str | None, Query(max_length=2000, description="`next` of the page before; needs the same filters.")
]


def finite(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN and no infinity, Prometheus and Langfuse have both."""
    return {name: None if isinstance(value, float) and not isfinite(value) else value for name, value in row.items()}


def link_next(request: Request, response: Response, token: str | None) -> None:
    """Sets `Link: rel="next"`, relative to the request so that it holds behind any proxy."""
    if token is not None:
        response.headers["Link"] = f'<?{request.url.include_query_params(next=token).query}>; rel="next"'


class TaggedRoute(APIRoute):
    """A route whose answer carries an ETag of its content, and is 304 when the caller has it already.

    The tag is of the content, not of the loads behind it: gold's tables change one by one while a transform runs, so
    no version in the store tells the whole truth.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def tagged(request: Request) -> Response:
            response = await handle(request)
            if response.status_code != 200:
                return response
            tag = f'W/"{hashlib.sha256(bytes(response.body)).hexdigest()[:32]}"'
            headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Authorization"}
            known = {part.strip() for part in request.headers.get("If-None-Match", "").split(",")}
            if tag in known or tag.removeprefix("W/") in known:
                return Response(status_code=304, headers=headers)
            response.headers.update(headers)
            return response

        return tagged
