"""What `run` asks of a stack."""

from __future__ import annotations

from typing import Any

import pytest
from forge_observability.cluster import ClusterError, asked

RUN_NOW = "observability.forge.dev/run-now"


def stack(before: str = "", **spec: Any) -> dict[str, Any]:
    annotations = {"team": "platform", **({RUN_NOW: before} if before else {})}
    return {"metadata": {"annotations": annotations}, "spec": {"sources": [{"name": "github"}], **spec}}


def test_what_is_asked_for_comes_after_what_waits() -> None:
    assert asked(stack(), "github") == {"annotations": {RUN_NOW: "github"}}
    assert asked(stack("transform"), "github") == {"annotations": {RUN_NOW: "transform,github"}}


def test_what_would_be_refused_is_not_asked_for() -> None:
    with pytest.raises(ClusterError, match="there is no source 'gitlab'; there is github, all"):
        asked(stack(), "github,gitlab")
    with pytest.raises(ClusterError, match="the stack is suspended"):
        asked(stack(suspend=True), "github")
