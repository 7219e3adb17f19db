"""A corpus of bad stacks: the API server refuses each, and says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from kubectl import Kubectl, command

pytestmark = pytest.mark.cluster
CORPUS = sorted((Path(__file__).parent / "bad_stacks").glob("*.yaml"))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_the_api_server_refuses(kubectl: Kubectl, path: Path) -> None:
    expected = path.read_text().splitlines()[0].removeprefix("# refused: ")
    said = kubectl("create", "--validate=strict", "-f", str(path), check=False)
    assert expected in said
    assert kubectl.names("obs") == []


def test_a_good_stack_is_taken(kubectl: Kubectl) -> None:
    """The corpus is refused for what is wrong in it, not for what it has in common."""
    good = """
apiVersion: observability.forge.dev/v1alpha1
kind: ObservabilityStack
metadata: {name: good}
spec:
  sources: [{name: metrics, prometheus: {url: "http://prometheus:9090"}}]
"""
    kubectl("create", "--validate=strict", "-f", "-", stdin=good)
    assert command("kubectl", "-n", kubectl.namespace, "get", "obs", "good", "-o", "name").strip()
