"""The application: which routes there are, who may ask, and how errors look."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import Depends, FastAPI
from fastapi_offline import FastAPIOffline

from forge_api import metrics, problems
from forge_api.auth import Tokens, guard
from forge_api.listings import PREFIX
from forge_api.repository import Gold
from forge_api.routes import health, insight, listings, page, platform, summary, tickets
from forge_api.store import Store

DESCRIPTION = """
Questions to the gold tables of one observability stack: delivery, pull requests, tickets, agents and their cost,
people's approvals, quality, the platform, and how far each source has come.

`/api/v1/metrics` says what each number means, where its values are (`values_at`) and the rows that say why (`rows_at`).

* Times are RFC 3339 in UTC, durations are seconds.
* Money is US dollars as a string of digits, exact to 12 decimals.
* Null means: not happened, or the source that would tell never loaded. A count is 0 when its source loaded and
  found none.
* Lists come in pages: follow `next` until it is null. A token holds only for the filters and the order it came from.
* Every answer of `/api/v1` carries an `ETag`; send it back as `If-None-Match` and get 304 while nothing changed.
* Every error is `application/problem+json` (RFC 9457).
* Paths under `/api/v1` keep their meaning: fields may be added, none is renamed or taken away.
"""

TAGS = [
    {"name": "metrics", "description": "What each number means, and the numbers by period."},
    {"name": "why", "description": "The rows that say why a number is what it is, one a thing."},
    {"name": "costs", "description": "Where the money of agents went, to the last digit."},
    {"name": "tickets", "description": "Tickets, their costs and all that happened to them."},
    {"name": "summary", "description": "The stack at a glance."},
    {"name": "platform", "description": "What Prometheus told, by the hour."},
    {"name": "health", "description": "For probes."},
]


def create_app(read_dsn: Callable[[], str], tokens: Tokens | None = None, stack_name: str = "") -> FastAPI:
    """The API over the store that `read_dsn` names (asked before each query); without `tokens` anybody may ask."""
    store = Store(read_dsn)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        store.close()

    app = FastAPIOffline(
        title="Forge Observability",
        description=DESCRIPTION,
        openapi_tags=TAGS,
        version=version("forge-api"),
        redoc_url=None,
        static_url="/docs/files",
        lifespan=lifespan,
    )
    app.state.gold = Gold(store)
    problems.install(app)
    app.include_router(health.router)
    for module in (tickets, summary, insight, listings, platform):
        app.include_router(module.router, prefix=PREFIX, dependencies=[Depends(guard(tokens))])
    page.install(app, stack_name)
    metrics.install(app)  # last: it counts the routes above
    return app
