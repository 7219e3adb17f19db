"""The demo's APIs in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import uvicorn
from forge_demo.apis.common import Live
from forge_demo.apis.server import application
from forge_demo.settings import Clock, Settings
from forge_demo.world import World
from starlette.testclient import TestClient

END = datetime(2026, 11, 1, 10, 30, tzinfo=UTC)


@pytest.fixture(scope="session")
def live() -> Live:
    world = World.build(11, end=END, days=30)
    return Live(world, Clock(END), Settings())


@pytest.fixture
def client(live: Live) -> Iterator[TestClient]:
    live.settings = Settings()
    live.budgets.clear()
    live.faults.clear()
    yield TestClient(application(live))


@pytest.fixture
def served(live: Live) -> Iterator[str]:
    """The APIs on a real port, for clients of other languages; the base URL."""
    live.settings = Settings()
    live.budgets.clear()
    config = uvicorn.Config(
        application(live), host="127.0.0.1", port=0, log_level="warning", lifespan="off", date_header=False
    )
    server = uvicorn.Server(config)
    listener = config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
