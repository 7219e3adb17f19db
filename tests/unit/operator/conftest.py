"""Fixtures of the operator's unit tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from forge_operator.builders import Inputs
from forge_stack.model import ObservabilityStack

sys.path.insert(0, str(Path(__file__).parent))

from stack_objects import make_settings, make_stack


@pytest.fixture
def stack() -> ObservabilityStack:
    """The rich stack."""
    return make_stack()


@pytest.fixture
def inputs(stack: ObservabilityStack) -> Inputs:
    """What its children are built from."""
    return Inputs(
        stack=stack,
        settings=make_settings(),
        store_secret="acme-store-auth",
        store_hash="5705ab1e",
        api_hash="a9100000",
        held=frozenset({"langfuse"}),
        service_monitors=True,
    )
