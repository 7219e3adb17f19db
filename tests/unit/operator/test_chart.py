"""The chart: its CRD is the one made from the model, its values are checked, its rights are what the code uses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from forge_operator.apply import NEVER_PRUNED
from forge_operator.leader import lease_name
from forge_operator.names import CHILDREN
from forge_stack import crd

CHART = Path(__file__).parents[3] / "charts" / "forge-observability"


def test_the_charts_crd_is_the_models() -> None:
    assert (CHART / "files" / "observabilitystacks.yaml").read_text(encoding="utf-8") == crd.render()
    assert 'dict "helm.sh/resource-policy" "keep"' in (CHART / "templates" / "crd.yaml").read_text()


@pytest.fixture
def values() -> dict[str, Any]:
    return dict(yaml.safe_load((CHART / "values.yaml").read_text()))


def check(values: dict[str, Any]) -> None:
    jsonschema.validate(values, json.loads((CHART / "values.schema.json").read_text()))


def test_the_default_values_are_good(values: dict[str, Any]) -> None:
    check(values)


@pytest.mark.parametrize(
    ("name", "value"),
    [("replica", 2), ("replicas", "two"), ("watchNamespaces", ["Team A"]), ("logLevel", "loud"), ("images", {})],
)
def test_wrong_values_are_refused(values: dict[str, Any], name: str, value: object) -> None:
    with pytest.raises(jsonschema.ValidationError):
        check({**values, name: value})


def rules() -> dict[tuple[str, str], set[str]]:
    """The verbs of the operator's role, a resource."""
    helpers = (CHART / "templates" / "_helpers.tpl").read_text()
    found = re.search(r'define "forge.rules" -}}\n(.*?)\{\{- end -}}', helpers, re.S)
    assert found
    return {
        (group, resource): set(rule["verbs"])
        for rule in yaml.safe_load(found[1])
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def test_rights_are_what_each_kind_of_child_needs() -> None:
    """List and watch all; apply needs create and patch; prune needs delete; made things only create."""
    given = rules()
    needed: dict[tuple[str, str], set[str]] = {}
    for kind in CHILDREN.values():
        verbs = {"list", "watch"}
        if kind.kind not in NEVER_PRUNED:
            verbs |= {"create", "patch", "delete"}
        needed[kind.group, kind.plural] = verbs
    needed["", "secrets"] |= {"get", "create"}
    needed["batch", "jobs"] |= {"create", "delete"}
    assert {key: given[key] for key in needed} == needed
    assert not [verbs for verbs in given.values() if "*" in verbs or "escalate" in verbs]


def test_the_role_speaks_of_the_lease_that_the_operator_takes() -> None:
    helpers = (CHART / "templates" / "_helpers.tpl").read_text()
    lease = lease_name("CLASS").replace("-CLASS", "{{ with .Values.operatorClass }}-{{ . }}{{ end }}")
    assert f'define "forge.lease" -}}}}\n{lease}\n' in helpers
    assert '[{{ include "forge.lease" . }}]' in (CHART / "templates" / "rbac.yaml").read_text()
