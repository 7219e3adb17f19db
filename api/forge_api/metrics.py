"""What Prometheus scrapes: the requests of this API, and how far each source of the stack has come."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from time import monotonic, perf_counter
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.routing import iter_route_contexts
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from forge_api.repository import Gold
from forge_api.routes.shared import GoldStore
from forge_api.store import GoldMissingError, Row, StoreError

log = logging.getLogger(__name__)

CACHE_SECONDS = 15
WAIT_SECONDS = 5  # half of what Prometheus gives a scrape, unless told otherwise
OTHER_ROUTE = "other"
"""The route of requests that no route takes (404), and of the files of `/docs`: paths of callers are no labels."""


def install(app: FastAPI) -> None:
    """Serves `/metrics`, without a token, and counts the requests of every route that `app` has by now."""
    registry = CollectorRegistry()
    sources = Sources()
    registry.register(sources)

    @app.get("/metrics", include_in_schema=False)
    async def metrics(request: Request, gold: GoldStore) -> Response:
        await sources.refresh(gold)
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"Content-Type": content_type})

    # A route of an included router knows its path without the router's prefix; its context knows all of it.
    templates = {route.endpoint: route.path for route in iter_route_contexts(app.routes) if route.endpoint}
    app.add_middleware(Requests, templates=templates, registry=registry)


class Requests:
    """ASGI middleware: requests and seconds until the answer's last byte, by route template and status."""

    def __init__(self, app: ASGIApp, templates: Mapping[Any, str | None], registry: CollectorRegistry) -> None:
        self._app = app
        self._templates = templates
        labels = ("route", "status")
        self._requests = Counter("forge_api_requests", "Requests answered.", labels, registry=registry)
        self._seconds = Histogram(
            "forge_api_request_duration_seconds", "Seconds from request to answer.", labels, registry=registry
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500  # what the server answers when the application raises

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        begin = perf_counter()
        try:
            await self._app(scope, receive, watch)
        finally:
            labels = (self._templates.get(scope.get("endpoint")) or OTHER_ROUTE, str(status))
            self._requests.labels(*labels).inc()
            self._seconds.labels(*labels).observe(perf_counter() - begin)


class Sources(Collector):
    """Gauges of `gold.coverage`, a series a source; none while the store does not answer."""

    GAUGES: Final = {
        "newest_event_at": (
            "forge_source_newest_event_timestamp_seconds",
            "Time of the newest event in the store, Unix time.",
        ),
        "last_load_at": (
            "forge_source_last_load_timestamp_seconds",
            "End of the last load that ended well, as of the last transform, Unix time.",
        ),
        "rows": ("forge_source_rows", "Rows that the source brought."),
    }

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._read_at: float | None = None
        self._rows: list[Row] = []
        self._up = False

    async def refresh(self, gold: Gold) -> None:
        """Reads coverage anew when what is known is older than CACHE_SECONDS; takes WAIT_SECONDS at most, raises never.

        Failures are kept as long: scrapes, however many, ask a store in trouble once in CACHE_SECONDS.
        """
        async with self._lock:
            if self._read_at is not None and monotonic() - self._read_at < CACHE_SECONDS:
                return
            try:
                # A thread of asyncio, not of the pool that runs the routes: that one may be busy with the same store.
                self._rows, self._up = await asyncio.wait_for(asyncio.to_thread(_read, gold), WAIT_SECONDS)
            except TimeoutError:
                log.warning("the store did not answer /metrics within %s s", WAIT_SECONDS)
                self._rows, self._up = [], False
            self._read_at = monotonic()

    def collect(self) -> Iterator[Metric]:
        """The gauges of the last `refresh`; a source that never loaded has no times."""
        help_up = "1 when the store answered the last question for coverage, 0 when it did not."
        yield GaugeMetricFamily("forge_api_store_up", help_up, value=self._up)
        for column, (name, text) in self.GAUGES.items():
            gauge = GaugeMetricFamily(name, text, labels=("source", "type"))
            for row in self._rows:
                if row[column] is not None:
                    value = row["rows"] if column == "rows" else row[column].timestamp()
                    gauge.add_metric((row["source"], row["type"]), value)
            yield gauge


def _read(gold: Gold) -> tuple[list[Row], bool]:
    try:
        return gold.coverage(), True
    except GoldMissingError:
        return [], True  # it answered: gold is not built yet
    except StoreError:
        return [], False
    except Exception:
        log.exception("a fault of this API while it read coverage for /metrics")
        return [], False
