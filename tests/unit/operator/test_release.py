"""What an upgrade of the operator replaces: the children of the release before, compared with those of now.

`releases/<version>/<stack>.yaml` holds a stack as the API server keeps it under that release (defaults filled in, which
a newer CRD does not change), and the children that the release made of it. Before a release is tagged,
`FORGE_RELEASE=<version>` renews them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from forge_operator.builders import Inputs, desired_children
from forge_stack.crd import custom_resource_definition
from forge_stack.model import ObservabilityStack
from stack_objects import make_settings

RELEASES = Path(__file__).parent / "releases"
Manifest = dict[str, Any]


def filled(schema: Manifest, value: Any) -> Any:
    """A value with the schema's defaults, as the API server fills them in when it is written."""
    if isinstance(value, list):
        return [filled(schema.get("items", {}), item) for item in value]
    if not isinstance(value, dict):
        return value
    parts = schema.get("properties", {})
    given = {**{name: part["default"] for name, part in parts.items() if "default" in part}, **value}
    return {name: filled(parts.get(name, {}), item) for name, item in given.items()}


def stored(manifest: Manifest) -> Manifest:
    """A stack as the API server keeps it."""
    schema = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return dict(filled(schema, manifest))


def render(manifest: Manifest) -> list[Manifest]:
    """The children of a stored stack, images and Secrets being the same in all releases."""
    stack = ObservabilityStack.parse(manifest)
    external = stack.spec.store.external
    inputs = Inputs(
        stack=stack,
        settings=make_settings(),
        store_secret=external.dsn_secret_ref.name if external else f"{stack.metadata.name}-store-auth",
        dsn_key=external.dsn_secret_ref.key if external else "dsn",
        store_hash="5705ab1e",
        api_hash="a9100000",
        service_monitors=True,
    )
    return list(json.loads(json.dumps(desired_children(inputs))))


def written() -> Iterator[Manifest]:
    yield from yaml.safe_load_all((RELEASES / "stacks.yaml").read_text())


@pytest.mark.skipif("FORGE_RELEASE" not in os.environ, reason="FORGE_RELEASE names no release to be written")
def test_write_a_release() -> None:
    folder = RELEASES / os.environ["FORGE_RELEASE"]
    folder.mkdir(exist_ok=True)
    for stack in map(stored, written()):
        text = yaml.safe_dump_all([stack, *render(stack)], sort_keys=True, width=120)
        (folder / f"{stack['metadata']['name']}.yaml").write_text(text)
