"""Whether a live object holds its intent: told from the fields that the API server says are ours."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from forge_operator.intent import changed_by, differences

INTENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "acme-api", "namespace": "team-a", "labels": {"app": "api"}},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "api"}},
        "template": {
            "spec": {
                "containers": [
                    {
                        "name": "api",
                        "image": "api:1",
                        "args": ["serve", "--all"],
                        "resources": {"limits": {"memory": "1024Mi"}},
                        "ports": [{"containerPort": 8080, "protocol": "TCP"}],
                    }
                ],
                "volumes": [{"name": "tmp", "emptyDir": {}}],
            }
        },
    },
}
FIELDS: dict[str, Any] = {
    "f:metadata": {"f:labels": {"f:app": {}}},
    "f:spec": {
        "f:replicas": {},
        "f:selector": {},
        "f:template": {
            "f:spec": {
                "f:containers": {
                    'k:{"name":"api"}': {
                        ".": {},
                        "f:name": {},
                        "f:image": {},
                        "f:args": {},
                        "f:resources": {"f:limits": {"f:memory": {}}},
                        "f:ports": {
                            'k:{"containerPort":8080,"protocol":"TCP"}': {
                                ".": {},
                                "f:containerPort": {},
                                "f:protocol": {},
                            }
                        },
                    }
                },
                "f:volumes": {'k:{"name":"tmp"}': {".": {}, "f:name": {}, "f:emptyDir": {}}},
            }
        },
    },
}


def applied() -> dict[str, Any]:
    """As the API server gives it back: defaults filled in, a quantity in its own words, the fields that are ours."""
    live = copy.deepcopy(INTENT)
    live["metadata"] |= {
        "uid": "u",
        "managedFields": [
            {"manager": "forge-operator", "operation": "Apply", "time": "2026-11-24T12:00:00Z", "fieldsV1": FIELDS}
        ],
    }
    container = live["spec"]["template"]["spec"]["containers"][0]
    container["imagePullPolicy"] = "IfNotPresent"
    container["resources"]["limits"]["memory"] = "1Gi"
    live["spec"]["progressDeadlineSeconds"] = 600
    return live


def ours(live: dict[str, Any]) -> dict[str, Any]:
    return dict(live["metadata"]["managedFields"][0]["fieldsV1"])


def told(intent: dict[str, Any], live: dict[str, Any]) -> list[tuple[str, bool]]:
    return [(each.told, each.lost) for each in differences(intent, live)]


def test_what_was_applied_holds() -> None:
    assert told(INTENT, applied()) == []


def test_what_others_add_is_theirs() -> None:
    live = applied()
    live["metadata"]["labels"]["team"] = "x"
    live["spec"]["template"]["spec"]["containers"].append({"name": "sidecar", "image": "proxy:1"})
    assert told(INTENT, live) == []


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("f:spec/f:replicas", "spec.replicas"),
        ("f:spec/f:template/f:spec/f:volumes", "spec.template.spec.volumes"),
        (
            'f:spec/f:template/f:spec/f:containers/k:{"name":"api"}/f:image',
            "spec.template.spec.containers.api.image",
        ),
    ],
)
def test_a_field_that_is_no_longer_ours_was_changed_by_somebody(path: str, name: str) -> None:
    live = applied()
    live["metadata"]["managedFields"] = copy.deepcopy(live["metadata"]["managedFields"])
    *parents, last = path.split("/")
    at = ours(live)
    for parent in parents:
        at = at[parent]
    del at[last]
    assert told(INTENT, live) == [(name, True)]


def test_an_element_that_is_gone_from_a_list() -> None:
    live = applied()
    live["metadata"]["managedFields"] = copy.deepcopy(live["metadata"]["managedFields"])
    del ours(live)["f:spec"]["f:template"]["f:spec"]["f:volumes"]['k:{"name":"tmp"}']
    ours(live)["f:spec"]["f:template"]["f:spec"]["f:volumes"]['k:{"name":"other"}'] = {".": {}}
    found = told(INTENT, live)
    assert ("spec.template.spec.volumes.tmp", True) in found


def test_another_intent_than_the_last_one() -> None:
    """A new version of the operator wants another image, drops an argument, and no longer says how many replicas."""
    intent = copy.deepcopy(INTENT)
    container = intent["spec"]["template"]["spec"]["containers"][0]
    container["image"], container["args"] = "api:2", ["serve"]
    del intent["spec"]["replicas"]
    assert sorted(told(intent, applied())) == [
        ("spec.replicas", False),
        ("spec.template.spec.containers.api.args", False),
        ("spec.template.spec.containers.api.image", False),
    ]


def test_a_key_that_an_atomic_value_no_longer_has() -> None:
    """A selector is one value: the API server would keep a key that nobody compares."""
    live = applied()
    live["spec"]["selector"]["matchLabels"]["old"] = "x"
    assert told(INTENT, live) == [("spec.selector", False)]


def test_an_object_whose_owners_were_forgotten_is_applied_again() -> None:
    live = applied()
    live["metadata"]["managedFields"] = []
    assert told(INTENT, live), "nothing says that its fields are ours"


def test_who_changed_a_field() -> None:
    live = applied()
    live["metadata"]["managedFields"] += [
        {"manager": "hpa", "time": "2026-11-24T12:05:00Z", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        {"manager": "kubectl-edit", "time": "2026-11-24T12:09:00Z", "fieldsV1": {"f:metadata": {"f:labels": {}}}},
        {"manager": "controller", "time": "2026-11-24T12:10:00Z", "subresource": "status", "fieldsV1": {}},
    ]
    assert changed_by(live, ("spec", "replicas")) == "hpa"
    assert changed_by(live, ("spec", "paused")) == "kubectl-edit", "nobody owns it: who wrote last"
    assert changed_by(applied(), ("spec", "replicas")) == "another client"
