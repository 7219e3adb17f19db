"""Gold behind functions: what the routes ask, answered from any store that SQLAlchemy knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from forge_api import keyset, listings, queries
from forge_api.listings import Listing, Wanted
from forge_api.queries import PlatformFilter, TicketFilter
from forge_api.store import Row, Store


@dataclass(frozen=True)
class Page:
    """One page: its rows, and the token of the next (None at the end)."""

    rows: list[Row]
    next: str | None


class Gold:
    """The repository over gold. Every method raises StoreError; rows are column name to value."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def ready(self) -> None:
        """Returns when the store answers and gold.tickets is there."""
        self._store.rows(queries.probe())

    def tickets(self, wanted: TicketFilter, sort: str, token: str | None, limit: int) -> Page:
        """A page of tickets; raises InvalidTokenError for a token of another question."""
        order = queries.ticket_order(sort)
        question = {"list": "tickets", "sort": sort, **asdict(wanted)}
        start = keyset.decode(order, token, question) if token else None
        rows = self._store.rows(queries.list_tickets(wanted, order, start, limit + 1))
        return _page(rows, order, question, limit)

    def platform(self, wanted: PlatformFilter, token: str | None, limit: int) -> Page:
        """A page of platform hours, newest first; raises InvalidTokenError."""
        order = queries.PLATFORM_ORDER
        question = {"list": "platform", **asdict(wanted)}
        start = keyset.decode(order, token, question) if token else None
        rows = self._store.rows(queries.list_platform(wanted, start, limit + 1))
        return _page(rows, order, question, limit)

    def rows(self, listing: Listing, wanted: Wanted, token: str | None, limit: int) -> Page:
        """A page of a list; raises InvalidTokenError."""
        order = listing.sort_keys()
        question = {"list": listing.path, **asdict(wanted)}
        start = keyset.decode(order, token, question) if token else None
        rows = self._store.rows(listings.rows(listing, wanted, start, limit + 1))
        return _page(rows, order, question, limit)

    def cost_groups(self, wanted: Wanted, token: str | None, limit: int) -> Page:
        """A page of the cost by the keys that are asked for; raises InvalidTokenError."""
        question = {"list": "costs", **asdict(wanted)}
        _, order = queries.cost_groups(wanted, None, limit)
        start = keyset.decode(order, token, question) if token else None
        query, _ = queries.cost_groups(wanted, start, limit + 1)
        return _page(self._store.rows(query), order, question, limit)

    def costs_over(self, wanted: Wanted) -> Row:
        """All cost that is wanted, and the part of it that has a ticket."""
        return self._store.rows(queries.costs_over(wanted))[0]

    def funnel(self, wanted: Wanted) -> tuple[Row, list[Row]]:
        """The approval funnel over the tickets that are wanted, and why people rejected."""
        return self._store.rows(queries.funnel(wanted))[0], self._store.rows(queries.rejection_reasons(wanted))

    def metrics(self) -> list[Row]:
        """The catalogue of the numbers."""
        return self._store.rows(queries.list_metrics())

    def missing_sources(self, table: str) -> list[str]:
        """Types of sources that the numbers of a table lack, sorted."""
        return sorted(
            {source for row in self._store.rows(queries.missing_sources(table)) for source in row["missing_sources"]}
        )

    def ticket(self, key: str) -> tuple[Row, list[Row]] | None:
        """The ticket and its costs by stage and model, or None when there is no such key."""
        found = self._store.rows(queries.one_ticket(key))
        return (found[0], self._store.rows(queries.costs_of_ticket(key))) if found else None

    def flow(self) -> Row:
        """Counts, lead-time quantiles and cost over all tickets."""
        return self._store.rows(queries.flow())[0]

    def by_project(self) -> list[Row]:
        """The same a project."""
        return self._store.rows(queries.by_project())

    def costs(self) -> list[Row]:
        """Cost by stage and model."""
        return self._store.rows(queries.by_stage_and_model())

    def costs_total(self) -> Row:
        """Cost over all stages and models, however many there are."""
        return self._store.rows(queries.costs_total())[0]

    def coverage(self) -> list[Row]:
        """What each source brought, and when."""
        return self._store.rows(queries.list_coverage())


def _page(rows: list[Row], order: Sequence[keyset.SortKey], question: Row, limit: int) -> Page:
    more = len(rows) > limit
    kept = rows[:limit]
    return Page(kept, keyset.encode(order, kept[-1], question) if more else None)
