"""The demo's APIs in this process, and the real contracts from npm and PyPI in the cache folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import uvicorn
from forge_demo.apis.common import Live
from forge_demo.apis.server import application
from forge_demo.settings import Clock, Settings
from forge_demo.world import World
from starlette.testclient import TestClient

END = datetime(2026, 11, 1, 10, 30, tzinfo=UTC)
NPM = {"@octokit/graphql-schema": "15.26.1", "@octokit/openapi": "23.0.2"}
JIRA_JS = "6.2.0"
LANGFUSE_WITH_LEGACY_MODELS = "langfuse==3.8.1"


def cache() -> Path:
    return Path(os.environ.get("FORGE_CACHE_DIR") or Path.home() / ".cache" / "forge-observability")


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


@pytest.fixture(scope="session")
def octokit() -> Path:
    """The folder of GitHub's published contracts; npm fetches them once a machine."""
    folder = cache() / "octokit" / "-".join(version for _, version in sorted(NPM.items()))
    done = folder / "node_modules" / "@octokit"
    if not (folder / "complete").exists():
        if shutil.which("npm") is None:
            pytest.fail("npm is needed for GitHub's contracts: install Node.js")
        folder.mkdir(parents=True, exist_ok=True)
        packages = [f"{name}@{version}" for name, version in NPM.items()]
        subprocess.run(["npm", "install", "--silent", "--prefix", str(folder), *packages], check=True, timeout=300)
        (folder / "complete").touch()
    return done


@pytest.fixture(scope="session")
def legacy_langfuse() -> Path:
    """A folder to put on PYTHONPATH: the last SDK that has the models of the legacy pages."""
    folder = cache() / LANGFUSE_WITH_LEGACY_MODELS.replace("==", "-")
    if not (folder / "complete").exists():
        command = ["uv", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), LANGFUSE_WITH_LEGACY_MODELS]
        subprocess.run(command, check=True, timeout=300)
        (folder / "complete").touch()
    return folder


@pytest.fixture(scope="session")
def jira_js() -> Path:
    """The folder of a Jira Cloud client that checks every answer against Jira's published models."""
    folder = cache() / f"jira.js-{JIRA_JS}"
    if not (folder / "complete").exists():
        if shutil.which("npm") is None:
            pytest.fail("npm is needed for Jira's models: install Node.js")
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--silent", "--prefix", str(folder), f"jira.js@{JIRA_JS}"]
        subprocess.run(command, check=True, timeout=300)
        (folder / "complete").touch()
    return folder / "node_modules" / "jira.js"


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
