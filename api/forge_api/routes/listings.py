"""A route for each list of `forge_api.listings`: parameters and answer are made of its table's columns."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, TypeVar

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi import Path as PathParameter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from sqlalchemy import Column

from forge_api.listings import ENTITIES, PERIODS, SERIES, TIMELINE, Listing, Wanted, column_of, parameter
from forge_api.models import Answer, Usd, made
from forge_api.problems import documented
from forge_api.repository import Gold
from forge_api.routes.shared import Day, GoldStore, Moment, PageToken, TaggedRoute, Word, finite, link_next

router = APIRouter(route_class=TaggedRoute)

_Route = TypeVar("_Route", bound=Callable[..., Any])
_Value = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")]
_ERRORS: Final = documented(400, 401, 422, 500, 503, 504)
_SHOWN: Final[dict[type, Any]] = {Decimal: Usd, list: list[str]}


class Filters(BaseModel):
    """Parameters that narrow. An unknown one is refused, so that a misspelt filter does not pass for none."""

    model_config = ConfigDict(extra="forbid")

    def wanted(self) -> Wanted:
        """The filters among the parameters, by column."""
        said = {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}
        by = dict.fromkeys(column_of(name) for name in said.get("by", ()))
        equal = {
            column_of(name): value if isinstance(value, list) else [value]
            for name, value in said.items()
            if name not in ("after", "before", "by", "limit", "next")
        }
        return Wanted(equal, [*by], said.get("after"), said.get("before"))


class ListQuery(Filters):
    """The parameters that every list has."""

    limit: int = Field(100, ge=1, le=1000, description="Rows a page.")
    next: PageToken = None


def query_model(listing: Listing) -> type[ListQuery]:
    """The parameters of one list."""
    fields: dict[str, Any] = {}
    if "period" in listing.table.c:
        fields["period"] = (Literal[PERIODS], Field("week", description="Length of the periods."))
    if listing.scopes:
        fields["scope"] = (
            Literal[listing.scopes],
            Field("all", description="What rows are about; `scope_value` then chooses among them."),
        )
    for name in listing.filters:
        fields[parameter(name)] = filter_field(listing.table.c[name])
    if listing.breakdowns:
        fields["by"] = (
            list[Literal[listing.breakdowns]],  # type: ignore[name-defined]
            Field([], description="Rows for each value of these; without it, the row over all."),
        )
    if listing.time is not None:
        fields |= time_fields(listing.table.c[listing.time])
    return made(f"{_name(listing)}Query", ListQuery, fields)


def asks(model: type[BaseModel]) -> Callable[[_Route], _Route]:
    """Makes `query` of a route the parameters of `model`: FastAPI reads them from the annotation, and no annotation in
    the text can name a model that is made when the program runs."""

    def annotate(route: _Route) -> _Route:
        route.__annotations__["query"] = Annotated[model, Query()]
        return route

    return annotate


def filter_field(column: Column[Any]) -> tuple[Any, Any]:
    """A parameter that compares with a column."""
    if column.type.python_type is bool:
        return (bool | None, Field(None, description=column.comment))
    said = f"{column.comment} Repeat it for several; an empty one asks for rows without."
    return (list[_Value], Field([], max_length=100, description=said))


def time_fields(column: Column[Any]) -> dict[str, Any]:
    """`after` and `before` of a column."""
    if column.type.python_type is date:
        return {
            "after": (Day | None, Field(None, description=f"`{column.name}` on this day or later.")),
            "before": (Day | None, Field(None, description=f"`{column.name}` before this day.")),
        }
    since = f"`{column.name}` at this time or later: RFC 3339, or a day in UTC."
    return {
        "after": (Moment | None, Field(None, description=since)),
        "before": (Moment | None, Field(None, description=f"`{column.name}` before this time.")),
    }


def answer_field(column: Column[Any]) -> tuple[Any, Any]:
    """A field that shows a column."""
    kind: Any = _SHOWN.get(column.type.python_type, column.type.python_type)
    return (kind | None if column.nullable else kind, Field(description=column.comment))


def row_model(listing: Listing, base: type[BaseModel] = Answer) -> type[BaseModel]:
    """The answer's rows of one list."""
    fields: dict[str, Any] = {column.name: answer_field(column) for column in listing.columns()}
    return made(f"{_name(listing)}Row", base, fields, listing.table.comment)


def page_model(row: type[BaseModel]) -> type[BaseModel]:
    """A page of such rows."""
    fields: dict[str, Any] = {
        "items": (list[row], Field(description="The rows.")),  # type: ignore[valid-type]
        "next": (
            str | None,
            Field(description="Pass it as `next`, with the same filters, for the next page; null at the end."),
        ),
        "missing_sources": (
            list[str],
            Field(
                description="Types of sources that would tell more and never loaded: no row then does not mean none."
            ),
        ),
    }
    return made(f"{row.__name__.removesuffix('Row')}Page", Answer, fields, "A page.")


class _TimelineRow(Answer):
    url: str | None = Field(description="`ref`, when it is the address of a page.")


def _answer(
    gold: Gold, listing: Listing, wanted: Wanted, query: ListQuery, request: Request, response: Response
) -> dict[str, Any]:
    page = gold.rows(listing, wanted, query.next, query.limit)
    link_next(request, response, page.next)
    return {
        "items": [finite(row) for row in page.rows],
        "next": page.next,
        "missing_sources": gold.missing_sources(listing.table.name),
    }


def _add(listing: Listing, tag: str) -> None:
    def list_rows(gold: GoldStore, request: Request, response: Response, query: Any) -> Any:
        return _answer(gold, listing, query.wanted(), query, request, response)

    _register(list_rows, listing, tag, page_model(row_model(listing)))


def _add_timeline() -> None:
    def list_rows(
        gold: GoldStore,
        request: Request,
        response: Response,
        query: Any,
        key: Annotated[Word, PathParameter(description="The ticket's key.", examples=["PAY-142"])],
    ) -> Any:
        wanted: Wanted = query.wanted()
        of_ticket = Wanted({**wanted.equal, "ticket_key": [key]}, wanted.by, wanted.after, wanted.before)
        answer = _answer(gold, TIMELINE, of_ticket, query, request, response)
        if not answer["items"] and gold.ticket(key) is None:
            raise HTTPException(404, f"there is no ticket {key}")
        for row in answer["items"]:
            row["url"] = row["ref"] if row["ref"].startswith(("https://", "http://")) else None
        return answer

    _register(list_rows, TIMELINE, "tickets", page_model(row_model(TIMELINE, _TimelineRow)), documented(404))


def _register(
    route: Callable[..., Any],
    listing: Listing,
    tag: str,
    answer: type[BaseModel],
    more: dict[int | str, Any] | None = None,
) -> None:
    route.__doc__ = listing.table.comment
    router.add_api_route(
        listing.path,
        asks(query_model(listing))(route),
        response_model=answer,
        tags=[tag],
        summary=listing.summary,
        name=f"list_{listing.table.name}",
        responses=_ERRORS | (more or {}),
    )


def _name(listing: Listing) -> str:
    return "".join(word.capitalize() for word in listing.table.name.split("_"))


for _series in SERIES:
    _add(_series, "metrics")
for _entity in ENTITIES:
    _add(_entity, "why")
_add_timeline()
