"""The chart as Helm renders it, without a cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from machine import MachineError, ensure_tool

sys.path.insert(0, str(Path(__file__).parent))

from rendering import Manifest, render


@pytest.fixture(scope="session")
def helm() -> Path:
    """Helm, built once."""
    try:
        return ensure_tool("helm")
    except MachineError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def rendered(helm: Path) -> Callable[..., list[Manifest]]:
    """Renders the chart with values over its own."""
    return lambda **values: render(helm, values)


@pytest.fixture(scope="session")
def refused(helm: Path) -> Callable[..., str]:
    """What Helm says of values that it must not take."""

    def refuse(**values: Any) -> str:
        with pytest.raises(subprocess.CalledProcessError) as error:
            render(helm, json.loads(json.dumps(values)))
        return str(error.value.stderr)

    return refuse
