"""The real Prometheus by way of this process, so that latency and faults are met there too."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from forge_demo.apis.common import Live, answer

KEPT = ("authorization", "content-type", "x-scope-orgid")


def routes(live: Live) -> list[Route]:
    """The paths under the base URL."""

    async def forward(request: Request) -> Response:
        if live.prometheus_url is None:
            return answer({"status": "error", "errorType": "not_found", "error": "Prometheus is not served"}, 404)
        query = f"?{request.url.query}" if request.url.query else ""
        url = f"{live.prometheus_url}/{request.path_params['rest']}{query}"
        body = await request.body() if request.method == "POST" else None
        return await asyncio.to_thread(_forwarded, url, body, {k: v for k, v in request.headers.items() if k in KEPT})

    return [Route("/{rest:path}", forward, methods=["GET", "POST"])]


def _forwarded(url: str, body: bytes | None, headers: dict[str, str]) -> Response:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=120) as found:  # noqa: S310
            return Response(found.read(), found.status, media_type=found.headers.get("content-type"))
    except urllib.error.HTTPError as error:
        return Response(error.read(), error.code, media_type=error.headers.get("content-type"))
