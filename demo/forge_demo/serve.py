"""A serving process: the three APIs by uvicorn, Prometheus as its child; one line of JSON when both are ready."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import uvicorn

from forge_demo import prometheus, truth
from forge_demo.apis.common import Live
from forge_demo.apis.faulty import turn_on
from forge_demo.apis.server import PREFIXES, application
from forge_demo.faults import Fault
from forge_demo.settings import Clock, Settings
from forge_demo.world import World


def serve(
    world: World,
    settings: Settings,
    *,
    speed: float,
    host: str,
    port: int,
    prometheus_port: int | None,
    metrics_span: timedelta,
    scrape_config: Path | None,
    faults: Sequence[Fault] = (),
    faults_seed: int = 7,
) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code."""
    live = Live(world, Clock(world.now, speed), settings)
    live.faults.seed = faults_seed
    return asyncio.run(_serve(live, host, port, prometheus_port, metrics_span, scrape_config, faults))


async def _serve(
    live: Live,
    host: str,
    port: int,
    prometheus_port: int | None,
    metrics_span: timedelta,
    scrape_config: Path | None,
    faults: Sequence[Fault],
) -> int:
    # By name of its protocol: asyncio sends small parts at once (TCP_NODELAY) only where it can tell that this is TCP.
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        shown = host if host != "0.0.0.0" else "127.0.0.1"  # noqa: S104
        base = f"http://{shown}:{listener.getsockname()[1]}"
        urls = {name: base + prefix for name, prefix in PREFIXES.items()} | {"world": f"{base}/_world"}
        async with AsyncExitStack() as children:
            if prometheus_port is not None:
                server = prometheus.Server(live, host, prometheus_port, metrics_span, scrape_config)
                live.prometheus_url = await children.enter_async_context(server)
                urls["prometheus"] = f"{base}/prometheus" if faults else live.prometheus_url
            for fault in faults:
                await turn_on(live, fault)
            config = uvicorn.Config(
                application(live), log_level="warning", access_log=False, lifespan="off", date_header=False
            )
            api = _Quiet(config)
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, api.stop)
            serving = asyncio.create_task(api.serve(sockets=[listener]))
            while not api.started and not serving.done():  # noqa: ASYNC110 (uvicorn tells it by a flag)
                await asyncio.sleep(0.01)
            print(json.dumps({"urls": urls, **truth.summary(live.world.state)}), flush=True)
            await serving
    return 0


class _Quiet(uvicorn.Server):
    """uvicorn without its own signal handlers: this process stops its child first."""

    def install_signal_handlers(self) -> None:
        """None."""

    def stop(self) -> None:
        """End after the requests under way."""
        self.should_exit = True
