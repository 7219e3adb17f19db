"""What an upgrade of the operator replaces: the children of the release before, compared with those of now.

`releases/<version>/<stack>.yaml` holds a stack as the API server keeps it under that release (defaults filled in, which
a newer CRD does not change), and the children that the release made of it. Before a release is tagged,
`FORGE_RELEASE=<version>` renews them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from forge_operator.builders import Inputs, desired_children
from forge_operator.settings import IMAGES
from forge_stack.crd import custom_resource_definition
from forge_stack.model import ObservabilityStack
from stack_objects import make_settings

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts" / "forge-observability"
RELEASES = Path(__file__).parent / "releases"
SECTION = "### Pods that an upgrade replaces"
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
    """The children of a stored stack with the images of the chart, Secrets being the same in all releases."""
    stack = ObservabilityStack.parse(manifest)
    external = stack.spec.store.external
    inputs = Inputs(
        stack=stack,
        settings=make_settings(images=chart_images()),
        store_secret=external.dsn_secret_ref.name if external else f"{stack.metadata.name}-store-auth",
        dsn_key=external.dsn_secret_ref.key if external else "dsn",
        store_hash="5705ab1e",
        api_hash="a9100000",
        service_monitors=True,
    )
    return list(json.loads(json.dumps(desired_children(inputs))))


def chart_images() -> dict[str, str]:
    """The images that the chart gives the operator by default."""
    release = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    images = yaml.safe_load((CHART / "values.yaml").read_text())["images"]
    return {name: f"{images[name]['repository']}:{images[name]['tag'] or release}" for name in IMAGES}


def written() -> Iterator[Manifest]:
    yield from yaml.safe_load_all((RELEASES / "stacks.yaml").read_text())


def write(release: str) -> None:
    """Keep what this release makes of the stacks."""
    (RELEASES / release).mkdir(exist_ok=True)
    for stack in map(stored, written()):
        text = yaml.safe_dump_all([stack, *render(stack)], sort_keys=True, width=120)
        (RELEASES / release / f"{stack['metadata']['name']}.yaml").write_text(text)


def kept() -> Iterator[tuple[Manifest, list[Manifest]]]:
    """The stacks and their children as the release before this one kept them."""
    for path in sorted((RELEASES / newest()).glob("*.yaml")):
        stack, *children = yaml.safe_load_all(path.read_text())
        yield stack, children


def newest() -> str:
    return max((p.name for p in RELEASES.iterdir() if p.is_dir()), key=lambda v: [*map(int, v.split("."))])


def templates(children: list[Manifest]) -> dict[tuple[str, str], Manifest]:
    """The pod templates, by kind and name of their controller."""
    specs = {(c["kind"], c["metadata"]["name"]): c.get("spec", {}) for c in children}
    inner = {key: spec.get("jobTemplate", {}).get("spec", spec) for key, spec in specs.items()}
    return {key: spec["template"] for key, spec in inner.items() if "template" in spec}


def changed_fields(old: Any, new: Any, name: str = "") -> set[str]:
    """Names of the fields that differ; what has a name in a list is compared with what has the same name."""
    if isinstance(old, dict) and isinstance(new, dict):
        absent = object()
        names = old.keys() | new.keys()
        return {f for key in names for f in changed_fields(old.get(key, absent), new.get(key, absent), key)}
    if isinstance(old, list) and isinstance(new, list):
        named = [
            {item["name"]: item for item in side if isinstance(item, dict) and "name" in item} for side in (old, new)
        ]
        if [len(side) for side in named] == [len(old), len(new)]:
            # Their order counts too: the API server keeps it in the template's hash.
            moved = named[0].keys() == named[1].keys() and [*named[0]] != [*named[1]]
            return ({name} if moved else set()) | changed_fields(named[0], named[1], name)
    return set() if old == new else {name}


def announced() -> dict[str, str]:
    """What the changelog says of the coming release: the kinds, and the text of each."""
    coming = (ROOT / "CHANGELOG.md").read_text().split("\n## ")[1]
    section = coming.split(SECTION)[1].split("\n### ")[0]
    bullets = ["- " + part for part in section.split("\n- ")[1:]]
    return {re.match(r"- `(\w+)`", bullet)[1]: bullet for bullet in bullets}  # type: ignore[index]


def differences() -> dict[str, set[str]]:
    """Kinds of controllers whose pod template is not what the release before made of the same stack."""
    found: dict[str, set[str]] = {}
    for stack, children in kept():
        before, now = templates(children), templates(render(stack))
        assert before.keys() == now.keys()
        for (kind, name), template in before.items():
            if fields := changed_fields(template, now[kind, name]):
                found.setdefault(kind, set()).update(fields)
    return found


def test_every_pod_that_an_upgrade_replaces_is_announced() -> None:
    told = announced()
    found = differences()
    missing = {kind: sorted(f for f in fields if f"`{f}`" not in told.get(kind, "")) for kind, fields in found.items()}
    assert {kind: fields for kind, fields in missing.items() if fields} == {}
    assert told.keys() == found.keys(), "the changelog announces what does not differ"


def test_each_stack_is_compared() -> None:
    if release := os.environ.get("FORGE_RELEASE"):
        write(release)
    assert {stack["metadata"]["name"] for stack in written()} == {stack["metadata"]["name"] for stack, _ in kept()}


def test_no_field_differs_that_cannot_be_changed() -> None:
    """The API server would refuse the whole child, and its drift would stay."""
    fixed = {
        "StatefulSet": ("selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates"),
        "Deployment": ("selector",),
        "Service": ("clusterIP",),
    }
    seen = 0
    for stack, children in kept():
        now = {(c["kind"], c["metadata"]["name"]): c["spec"] for c in render(stack) if c["kind"] in fixed}
        for child in children:
            for field in fixed.get(child["kind"], ()):
                assert child["spec"].get(field) == now[child["kind"], child["metadata"]["name"]].get(field)
                seen += 1
    assert seen > 20


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        (lambda t: t["spec"].update(enableServiceLinks=True), {"enableServiceLinks"}),
        (lambda t: t["spec"].pop("enableServiceLinks"), {"enableServiceLinks"}),
        (lambda t: t["metadata"]["annotations"].update(new="x"), {"new"}),
        (lambda t: t["spec"]["containers"][0].update(image="other"), {"image"}),
        (lambda t: t["spec"]["volumes"].reverse(), {"volumes"}),
        (lambda t: t["spec"]["containers"][0]["env"].pop(), {"FORGE_STORE_READER_SHA256"}),
        (lambda t: t["spec"]["containers"][0]["securityContext"]["capabilities"]["drop"].append("x"), {"drop"}),
    ],
)
def test_a_difference_is_seen(change: Any, fields: set[str]) -> None:
    stack = stored(next(written()))
    before, now = templates(render(stack)), templates(render(stack))
    key = ("StatefulSet", "smallest-store")
    assert changed_fields(before[key], now[key]) == set()
    change(now[key])
    assert changed_fields(before[key], now[key]) == fields


def test_a_stored_stack_keeps_the_defaults_under_which_it_was_written() -> None:
    """A store of 0.1.0 was written without resources; only a stack that is written now has them."""
    stack, *_ = yaml.safe_load_all((RELEASES / "0.1.0" / "smallest.yaml").read_text())
    assert stored(stack)["spec"]["store"]["managed"]["resources"] == {}
    assert stored(next(written()))["spec"]["store"]["managed"]["resources"]["requests"] != {}
