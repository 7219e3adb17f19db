"""The real contracts: what GitHub, Jira and Langfuse publish on npm and PyPI, fetched once a machine."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

OCTOKIT = {"@octokit/graphql-schema": "15.26.1", "@octokit/openapi": "23.0.2"}
JIRA_JS = "6.2.0"
LANGFUSE_WITH_LEGACY_MODELS = "langfuse==3.8.1"


def fetched(folder: str, *command: str) -> Path:
    """A folder of the cache, filled by a command (`FOLDER` in it is its path); tests may run beside one another."""
    cache = Path(os.environ.get("FORGE_CACHE_DIR") or Path.home() / ".cache" / "forge-observability")
    path = cache / folder
    path.mkdir(parents=True, exist_ok=True)
    with (path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (path / "complete").exists():
            if shutil.which(command[0]) is None:
                pytest.fail(f"{command[0]} is needed for published contracts: install it (npm comes with Node.js)")
            filled = [str(path) if word == "FOLDER" else word for word in command]
            subprocess.run(filled, check=True, timeout=300)
            (path / "complete").touch()
    return path


def from_npm(folder: str, *packages: str) -> Path:
    """The modules of npm packages."""
    return fetched(folder, "npm", "install", "--silent", "--prefix", "FOLDER", *packages) / "node_modules"


@pytest.fixture(scope="session")
def octokit() -> Path:
    """The folder of GitHub's published contracts."""
    packages = [f"{name}@{version}" for name, version in OCTOKIT.items()]
    return from_npm(f"octokit/{'-'.join(version for _, version in sorted(OCTOKIT.items()))}", *packages) / "@octokit"


@pytest.fixture(scope="session")
def jira_js() -> Path:
    """The folder of a Jira Cloud client that checks every answer against Jira's published models."""
    return from_npm(f"jira.js-{JIRA_JS}", f"jira.js@{JIRA_JS}") / "jira.js"


@pytest.fixture(scope="session")
def legacy_langfuse() -> Path:
    """A folder to put on PYTHONPATH: the last SDK that has the models of the legacy pages."""
    command = ("uv", "pip", "install", "--quiet", "--no-deps", "--target", "FOLDER", LANGFUSE_WITH_LEGACY_MODELS)
    return fetched(LANGFUSE_WITH_LEGACY_MODELS.replace("==", "-"), *command)
