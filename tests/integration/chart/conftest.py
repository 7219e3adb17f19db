"""A control plane with played nodes, on which the chart is installed as users install it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import MachineError, ensure_tool
from plane import Plane

sys.path.insert(0, str(Path(__file__).parents[2] / "unit" / "chart"))
sys.path.insert(0, str(Path(__file__).parents[1] / "operator"))


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A real API server with RBAC and an audit log; loads and transforms take half a second."""
    try:
        with Plane(tmp_path_factory.mktemp("p") / "p", nodes=3, job_seconds=0.5) as plane:
            yield plane
    except MachineError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="module")
def helm(plane: Plane) -> Path:
    """Helm."""
    return ensure_tool("helm")
