"""The operator's rights are the verbs that its code uses, cluster-wide or a namespace at a time."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from forge_operator.builders import Inputs, desired_children
from forge_operator.leader import KIND as LEASE
from forge_operator.leader import lease_name
from forge_operator.names import CHILDREN, EVENT, SERVICE_MONITOR, STACK, Kind
from forge_stack import crd
from rendering import CHART, NAMESPACE, Manifest, of_kind, only, render, rights

sys.path.insert(0, str(Path(__file__).parents[1] / "operator"))

from stack_objects import make_settings, make_stack

Render = Callable[..., list[Manifest]]
Right = tuple[str, str, str]


def children(change: Callable[[Manifest], None] | None = None) -> dict[tuple[str, str], Kind]:
    """What a stack has applied: kind and name, and the kind's place in the API."""
    inputs = Inputs(
        stack=make_stack(change), settings=make_settings(), store_secret="acme-store-auth", service_monitors=True
    )
    kinds = {**CHILDREN, SERVICE_MONITOR.kind: SERVICE_MONITOR}
    return {(m["kind"], m["metadata"]["name"]): kinds[m["kind"]] for m in desired_children(inputs)}


def _little(manifest: Manifest) -> None:
    """The stack with the fewest children."""
    spec: dict[str, Any] = manifest["spec"]
    spec["store"] = {"external": {"dsnSecretRef": {"name": "clickhouse"}}}
    spec["sources"] = spec["sources"][:1]
    spec["api"] = {"replicas": 1}
    spec["networkPolicy"] = {"enabled": False}
    del spec["monitoring"]


def needed() -> set[Right]:
    """What the code asks the API server for."""

    def of(kind: Kind, *verbs: str) -> Iterator[Right]:
        return ((kind.group, kind.plural, verb) for verb in verbs)

    much, little = children(), children(_little)
    found = {
        (STACK.group, f"{STACK.plural}/status", "update"),
        # The child's owner reference blocks the deletion of its owner.
        (STACK.group, f"{STACK.plural}/finalizers", "update"),
        *of(STACK, "get", "list", "watch", "patch"),
        *of(EVENT, "create"),
        *of(CHILDREN["Secret"], "get", "create"),
        *of(CHILDREN["Job"], "get", "create", "delete"),
    }
    for kind in [*CHILDREN.values(), SERVICE_MONITOR]:
        found |= set(of(kind, "list", "watch"))
    for kind in much.values():
        # The name is looked up before the first apply; an apply is a patch, and a create where nothing is.
        found |= set(of(kind, "get", "create", "patch"))
    for key in much.keys() - little.keys():
        found |= set(of(much[key], "delete"))
    return found


def test_rights_are_what_the_code_needs(rendered: Render) -> None:
    given = rights(only_role(rendered(), "ClusterRole")["rules"])
    assert set(given) == needed()
    assert [right for right, times in Counter(given).items() if times > 1] == []


def only_role(made: list[Manifest], kind: str) -> Manifest:
    """The operator's role, among the others."""
    name = only(made, "Deployment")["metadata"]["name"]
    (found,) = [role for role in of_kind(made, kind) if role["metadata"]["name"] == name]
    return found


def test_a_role_a_namespace_where_namespaces_are_given(rendered: Render) -> None:
    everywhere = only_role(rendered(), "ClusterRole")["rules"]
    made = rendered(watchNamespaces=["team-a", "team-b"], rbac={"aggregateToUserRoles": False})
    assert not of_kind(made, "ClusterRole")
    assert not of_kind(made, "ClusterRoleBinding")
    name = only(made, "Deployment")["metadata"]["name"]
    account = {"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}
    roles = {role["metadata"]["namespace"]: role for role in of_kind(made, "Role") if role["metadata"]["name"] == name}
    assert roles.keys() == {"team-a", "team-b"}
    assert all(role["rules"] == everywhere for role in roles.values())
    for binding in of_kind(made, "RoleBinding"):
        assert binding["subjects"] == [account]
        assert binding["roleRef"]["name"] == binding["metadata"]["name"]
    variables = {each["name"]: each.get("value") for each in made_env(made)}
    assert variables["FORGE_WATCH_NAMESPACES"] == "team-a,team-b"


def made_env(made: list[Manifest]) -> list[dict[str, Any]]:
    """The operator's environment."""
    return list(only(made, "Deployment")["spec"]["template"]["spec"]["containers"][0]["env"])


@pytest.mark.parametrize("operator_class", ["", "blue"])
def test_the_role_speaks_of_the_lease_that_the_operator_takes(rendered: Render, operator_class: str) -> None:
    made = rendered(operatorClass=operator_class)
    (role,) = [role for role in of_kind(made, "Role") if role["metadata"]["name"].endswith("-leader")]
    assert role["metadata"]["namespace"] == NAMESPACE
    assert sorted(rights(role["rules"])) == [(LEASE.group, LEASE.plural, verb) for verb in ("create", "get", "update")]
    assert [rule.get("resourceNames") for rule in role["rules"]] == [None, [lease_name(operator_class)]]


def test_people_see_and_write_stacks_with_the_roles_they_have(rendered: Render) -> None:
    """Who may view a namespace may view its stacks; who may edit it may write them; nobody more."""
    made = {role["metadata"]["name"].rsplit("-", 1)[1]: role for role in of_kind(rendered(), "ClusterRole")}
    aggregate = "rbac.authorization.k8s.io/aggregate-to-"
    told = {
        name: {
            label.removeprefix(aggregate) for label in made[name]["metadata"]["labels"] if label.startswith(aggregate)
        }
        for name in ("view", "edit")
    }
    assert told == {"view": {"view", "edit", "admin"}, "edit": {"edit", "admin"}}
    assert {verb for _, _, verb in rights(made["view"]["rules"])} == {"get", "list", "watch"}
    assert {resource for _, resource, _ in rights(made["edit"]["rules"])} == {STACK.plural}


def test_the_charts_crd_is_the_models_and_is_kept(helm: Path) -> None:
    assert (CHART / "files" / "observabilitystacks.yaml").read_text(encoding="utf-8") == crd.render()
    made = only(render(helm, {"crds": {"install": True}}), "CustomResourceDefinition")
    assert made["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
