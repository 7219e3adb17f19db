"""What the operator answers over HTTP: its probes and its metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from forge_operator import metrics
from forge_operator.controller import Controller


@asynccontextmanager
async def serving(controller: Controller, port: int) -> AsyncIterator[None]:
    """Answer on all addresses while the block runs: /healthz (is it stuck?), /readyz (does it know all?), /metrics."""
    metrics.REGISTRY.register(stacks := metrics.Stacks(controller.stacks.statuses))

    async def measure(_: web.Request) -> web.Response:
        controller.measure()
        return web.Response(body=generate_latest(metrics.REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes(
        [
            web.get("/healthz", _probe(controller.check_alive)),
            web.get("/readyz", _probe(controller.check_ready)),
            web.get("/metrics", measure),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", port).start()  # noqa: S104 - a pod's address is not known before it runs
    try:
        yield
    finally:
        metrics.REGISTRY.unregister(stacks)
        await runner.cleanup()


def _probe(check: Callable[[], str]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        try:
            return web.Response(text=check())
        except RuntimeError as error:
            return web.Response(text=str(error), status=503)

    return answer
