"""The children of a rich stack: a snapshot of all of them, and what must hold for each."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from forge_operator.builders import Inputs, api, desired_children, loads, store, transform
from forge_operator.names import STACK_LABEL
from forge_stack.decisions import FinishedLoad
from forge_stack.model import Source
from forge_stack.runs import parse_window
from forge_stack.wire import StoreDsn, TransformRequest
from stack_objects import NOW, make_settings, make_stack

SNAPSHOT = Path(__file__).parent / "children.yaml"
CHART = Path(__file__).parents[3] / "charts" / "forge-observability"
Manifest = dict[str, Any]


def everything(inputs: Inputs) -> list[Manifest]:
    source = inputs.stack.spec.sources[1]
    covers = [FinishedLoad("u1", "github", NOW)]
    window = parse_window("2026-01-01/2026-02-01")
    return [
        *desired_children(inputs),
        loads.first_load(inputs, source, 2),
        loads.requested_load(inputs, source, "0123456789abcdef", window),
        transform.job(inputs, 7, covers),
        transform.job(inputs, 8, [], ["0123456789abcdef"], full_refresh=True),
    ]


def pod_templates(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    for manifest in manifests:
        spec = manifest.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if "template" in spec:
            yield f"{manifest['kind']} {manifest['metadata']['name']}", spec["template"]


def test_the_children_of_a_rich_stack(inputs: Inputs) -> None:
    """A change of what is made shows in the diff of the snapshot; FORGE_SNAPSHOT=write renews it."""
    text = yaml.safe_dump_all(json.loads(json.dumps(everything(inputs))), sort_keys=True, width=120)
    if os.environ.get("FORGE_SNAPSHOT") == "write":
        SNAPSHOT.write_text(text, encoding="utf-8")
    assert text == SNAPSHOT.read_text(encoding="utf-8")


def test_every_child_is_ours_and_dies_with_the_stack(inputs: Inputs) -> None:
    for manifest in everything(inputs):
        meta = manifest["metadata"]
        assert meta["namespace"] == "team-a"
        assert meta["labels"]["app.kubernetes.io/managed-by"] == "forge-operator"
        assert meta["labels"][STACK_LABEL] == "acme"
        assert [(o["uid"], o["controller"]) for o in meta["ownerReferences"]] == [("uid-of-acme", True)]


@pytest.mark.parametrize(
    "name", ["component", "inputs", "release", STACK_LABEL, "app.kubernetes.io/managed-by", "app.kubernetes.io/name"]
)
def test_labels_of_a_user_may_have_any_name_and_replace_none_of_ours(inputs: Inputs, name: str) -> None:
    """A child without our labels is not found again: it would be applied in each pass and never be deleted."""
    stack = make_stack(lambda manifest: manifest["spec"]["monitoring"].update(labels={name: "theirs"}))
    (monitor,) = [m for m in desired_children(replace(inputs, stack=stack)) if m["kind"] == "ServiceMonitor"]
    labels = monitor["metadata"]["labels"]
    assert labels[STACK_LABEL] == "acme"
    assert labels["app.kubernetes.io/managed-by"] == "forge-operator"
    assert name in labels


def test_data_volumes_have_no_owner(inputs: Inputs) -> None:
    sets = [m for m in everything(inputs) if m["kind"] == "StatefulSet"]
    assert [m["spec"]["volumeClaimTemplates"][0]["metadata"].get("ownerReferences") for m in sets] == [None]
    assert sets[0]["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Delete"


def laid_over(manifest: Manifest) -> None:
    """Everything that a stack may lay over its pods, at both levels."""
    manifest["spec"]["podTemplate"] = {
        "labels": {"team": "platform", "stage": "prod"},
        "annotations": {"example.com/owner": "platform", "observability.forge.dev/secrets": "mine"},
        "nodeSelector": {"pool": "data"},
        "tolerations": [{"key": "data", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}],
        "affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        "topologySpreadConstraints": [{"topologyKey": "topology.kubernetes.io/zone"}],
        "priorityClassName": "batch",
        "imagePullSecrets": ["mirror", "registry"],
        "securityContext": {"runAsUser": 5000, "fsGroup": 5000},
        "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}, {"name": "NO_PROXY"}],
    }
    nearer = {
        "labels": {"stage": "test"},
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "spot", "value": "yes"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
        "topologySpreadConstraints": [{"topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}],
        "priorityClassName": "high",
        "securityContext": {"runAsUser": 6000, "runAsGroup": 6000},
        "env": [{"name": "HTTPS_PROXY", "value": "http://nearer:3128"}],
    }
    for part in (manifest["spec"]["store"]["managed"], manifest["spec"].setdefault("loads", {})):
        part["podTemplate"] = nearer
        part["image"] = "mirror.example/other:2"


def covered_with(inputs: Inputs, change: Any = laid_over) -> Inputs:
    return replace(inputs, stack=make_stack(change))


def by_component(manifests: list[Manifest]) -> dict[str, Manifest]:
    """One pod template of each component."""
    return {t["metadata"]["labels"]["app.kubernetes.io/component"]: t for _, t in pod_templates(manifests)}


def test_what_a_stack_lays_over_its_pods(inputs: Inputs) -> None:
    templates = by_component(everything(covered_with(inputs)))
    api_pod, store_pod = templates["api"], templates["store"]
    assert api_pod["metadata"]["labels"].items() >= {"team": "platform", "stage": "prod"}.items()
    assert store_pod["metadata"]["labels"].items() >= {"team": "platform", "stage": "test"}.items()
    assert api_pod["spec"]["nodeSelector"] == {"pool": "data"}
    assert store_pod["spec"]["nodeSelector"] == {"pool": "data", "disk": "fast"}
    assert [t["key"] for t in store_pod["spec"]["tolerations"]] == ["data", "spot"]
    assert store_pod["spec"]["tolerations"][1] == {"key": "spot", "operator": "Equal", "value": "yes"}
    assert set(store_pod["spec"]["affinity"]) == {"nodeAffinity"}
    assert (api_pod["spec"]["priorityClassName"], store_pod["spec"]["priorityClassName"]) == ("batch", "high")
    assert [s["name"] for s in store_pod["spec"]["imagePullSecrets"]] == ["registry", "mirror"]
    context = store_pod["spec"]["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (6000, 6000, 5000)
    constraint = {
        "topologyKey": "kubernetes.io/hostname",
        "maxSkew": 1,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {STACK_LABEL: "acme", "app.kubernetes.io/component": "store"}},
    }
    assert store_pod["spec"]["topologySpreadConstraints"] == [constraint]
    for component, proxy in (("api", "proxy"), ("transform", "proxy"), ("load", "nearer"), ("store", "nearer")):
        variables = templates[component]["spec"]["containers"][0]["env"]
        assert [v.get("value") for v in variables if v["name"] == "HTTPS_PROXY"] == [f"http://{proxy}:3128"]
        assert {"name": "NO_PROXY"} in variables
    assert {c: t["spec"]["containers"][0]["image"] for c, t in templates.items()} == {
        "store": "mirror.example/other:2",
        "load": "mirror.example/other:2",
        "transform": "forge/dbt:1",
        "api": "forge/api:1",
    }


def test_what_is_laid_over_replaces_nothing_of_ours(inputs: Inputs) -> None:
    """Labels by which pods are found, the annotations that restart them, the variables that they are told by."""
    bare, covered = (by_component(everything(each)) for each in (inputs, covered_with(inputs)))
    for component, template in bare.items():
        over = covered[component]
        assert template["metadata"]["labels"].items() <= over["metadata"]["labels"].items()
        assert template["metadata"].get("annotations", {}).items() <= over["metadata"].get("annotations", {}).items()
        variables = over["spec"]["containers"][0]["env"]
        assert [v for v in template["spec"]["containers"][0]["env"] if v not in variables] == []
        assert len({v["name"] for v in variables}) == len(variables)


@pytest.mark.parametrize(
    ("place", "changed"),
    [
        (("store", "managed"), {"StatefulSet"}),
        (("loads",), {"CronJob", "Job load"}),
        (("transform",), {"Job transform"}),
        (("api",), {"Deployment"}),
    ],
)
def test_another_image_of_a_component_changes_only_its_pods(
    inputs: Inputs, place: tuple[str, ...], changed: set[str]
) -> None:
    def another(manifest: Manifest) -> None:
        part = manifest["spec"]
        for name in place:
            part = part.setdefault(name, {})
        part["image"] = "mirror.example/other:2"

    before, after = everything(inputs), everything(covered_with(inputs, another))
    seen = [m for m, n in zip(before, after, strict=True) if m != n]
    names = {
        m["kind"] + (f" {m['metadata']['labels']['app.kubernetes.io/component']}" if m["kind"] == "Job" else "")
        for m in seen
    }
    assert names == changed


def test_nothing_empty_is_asked_for(inputs: Inputs) -> None:
    """The API server drops or fills in what is empty, and would call each apply of it a change."""

    def empty(value: object, path: str) -> Iterator[str]:
        if value in ("", [], {}) and not path.endswith(("emptyDir", "podAffinity", "Execution", "nodeSelectorTerms")):
            yield path
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for name, item in items:
            yield from empty(item, f"{path}.{name}")

    for each in (inputs, covered_with(inputs)):
        found = [path for m in everything(each) for path in empty(m, f"{m['kind']} {m['metadata']['name']}")]
        assert found == []


@pytest.mark.parametrize(
    ("given", "replicas", "budgets"),
    [
        ({"replicas": 1}, 1, 0),
        ({"replicas": 2}, 2, 1),
        ({"replicas": 1, "autoscaled": True}, None, 1),
        ({"replicas": 0, "autoscaled": True}, 0, 0),
    ],
)
def test_an_autoscaler_is_left_the_replicas(
    inputs: Inputs, given: Manifest, replicas: int | None, budgets: int
) -> None:
    def scaled(manifest: Manifest) -> None:
        manifest["spec"]["api"] = given

    children = desired_children(covered_with(inputs, scaled))
    (deployment,) = [m for m in children if m["kind"] == "Deployment"]
    assert deployment["spec"].get("replicas") == replicas
    spread = deployment["spec"]["template"]["spec"].get("topologySpreadConstraints", [])
    assert [c["topologyKey"] for c in spread] == ["kubernetes.io/hostname"] * budgets
    named = [m for m in children if m["kind"] == "PodDisruptionBudget" and m["metadata"]["name"] == "acme-api"]
    assert len(named) == budgets


def selects(selector: Manifest, labels: Manifest) -> bool:
    """As a label selector does; of the operators, only those that are used here."""
    expressions = selector.get("matchExpressions", [])
    assert all(e["operator"] == "In" for e in expressions)
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(e["key"]) in e["values"] for e in expressions
    )


def reaches(policies: list[Manifest], source: tuple[str, Manifest], target: Manifest, port: int) -> bool:
    """Whether pods with labels in a namespace may connect to a pod in team-a, by the rules of networking.k8s.io/v1."""
    isolating = [p["spec"] for p in policies if selects(p["spec"]["podSelector"], target)]
    assert all(spec["policyTypes"] == ["Ingress"] for spec in isolating)

    def admits(rule: Manifest) -> bool:
        namespace, labels = source
        names = {"kubernetes.io/metadata.name": namespace}
        there = any(
            (selects(peer["namespaceSelector"], names) if "namespaceSelector" in peer else namespace == "team-a")
            and selects(peer["podSelector"], labels)
            for peer in rule.get("from", [])
        )
        return ("from" not in rule or there) and any(p["port"] == port for p in rule["ports"])

    return not isolating or any(admits(rule) for spec in isolating for rule in spec.get("ingress", []))


def test_who_reaches_whom(inputs: Inputs) -> None:
    """Every pair of pods: the store is reached by whom it serves, the API by all, loads and transforms by nobody."""
    policies = [m for m in desired_children(inputs) if m["kind"] == "NetworkPolicy"]
    own = {name: t["metadata"]["labels"] for name, t in by_component(everything(inputs)).items()}
    another = {name: {**labels, STACK_LABEL: "other"} for name, labels in own.items()}
    # The operator's pods are called what the chart's selector says.
    helpers = (CHART / "templates" / "_helpers.tpl").read_text().split('"forge.selector" -}}')[1].split("{{- end")[0]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())["name"]
    operator = yaml.safe_load(helpers.replace("{{ .Chart.Name }}", chart).replace("{{ .Release.Name }}", "forge"))
    sources = {
        **{name: ("team-a", labels) for name, labels in own.items()},
        **{f"another stack's {name}": ("team-a", labels) for name, labels in another.items()},
        **{f"{name} elsewhere": ("team-b", labels) for name, labels in own.items()},
        "a client": ("team-a", {"observability.forge.dev/store-client": "acme"}),
        "another's client": ("team-a", {"observability.forge.dev/store-client": "other"}),
        "a client elsewhere": ("team-b", {"observability.forge.dev/store-client": "acme"}),
        "anybody": ("team-a", {}),
        "the operator": (inputs.settings.namespace, operator),
        "a false operator": ("team-a", operator),
        "a neighbour of the operator": (inputs.settings.namespace, {}),
    }
    allowed = {
        target: {name for name, source in sources.items() if reaches(policies, source, own[target], port)}
        for target, port in (("store", 8123), ("api", 8080), ("load", 8080), ("transform", 8080))
    }
    assert allowed == {
        "store": {"api", "load", "transform", "a client", "the operator"},
        "api": set(sources),
        "load": set(),
        "transform": set(),
    }
    assert not any(reaches(policies, source, own["store"], 9363) for source in sources.values())
    assert not any(reaches(policies, source, own["api"], 22) for source in sources.values())


@pytest.mark.parametrize("change", [lambda _: None, laid_over])
def test_every_pod_is_restricted(inputs: Inputs, change: Any) -> None:
    """The rules of the restricted Pod Security Standard, and two of our own: a read-only root, no token."""
    seen = 0
    for name, template in pod_templates(everything(covered_with(inputs, change))):
        spec = template["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & set(spec), name
        assert spec["securityContext"].get("runAsUser") != 0, name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["imagePullSecrets"][0] == {"name": "registry"}, name
        assert {next(iter(set(v) - {"name"})) for v in spec["volumes"]} <= {"emptyDir", "secret", "configMap"}, name
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert context["readOnlyRootFilesystem"] is True, name
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}, name
            assert container["resources"]["limits"].keys() == {"memory"}, name
        seen += 1
    assert seen == 10


def test_selectors_match_their_pods(inputs: Inputs) -> None:
    manifests = everything(inputs)
    templates = dict(pod_templates(manifests))
    for manifest in manifests:
        if manifest["kind"] in ("StatefulSet", "Deployment"):
            labels = templates[f"{manifest['kind']} {manifest['metadata']['name']}"]["metadata"]["labels"]
            assert manifest["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_names_fit_at_the_longest() -> None:
    def longest(manifest: Manifest) -> None:
        manifest["metadata"]["name"] = "s" * 26
        manifest["spec"]["sources"][0]["name"] = "x" * 20

    inputs = Inputs(stack=make_stack(longest), settings=make_settings(), store_secret="s")
    cron_job = loads.cron_jobs(inputs)[0]
    assert len(cron_job["metadata"]["name"]) == 52
    assert len(loads.first_load(inputs, inputs.stack.spec.sources[0], 99)["metadata"]["name"]) <= 63
    assert all(len(m["metadata"]["name"]) <= 63 for m in desired_children(inputs))


def test_a_load_gets_exactly_its_source(inputs: Inputs) -> None:
    source = inputs.stack.spec.sources[1]
    container = loads.job_spec(inputs, source)["template"]["spec"]["containers"][0]
    variables = {v["name"]: v["value"] for v in container["env"]}
    assert container["args"] == ["github"]
    assert Source.model_validate_json(variables["FORGE_SOURCE"]) == source
    assert "null" not in variables["FORGE_SOURCE"]
    mounted = {m["mountPath"] for m in container["volumeMounts"]}
    assert {variables["FORGE_CREDENTIALS_DIR"], variables["FORGE_WORK_DIR"], "/tmp"} <= mounted
    assert os.path.dirname(variables["FORGE_STORE_DSN_FILE"]) in mounted  # noqa: PTH120 - a path inside the pod


def test_cron_jobs_are_held_or_suspended(inputs: Inputs) -> None:
    found = {m["metadata"]["labels"]["observability.forge.dev/source"]: m["spec"] for m in loads.cron_jobs(inputs)}
    assert {name: spec["suspend"] for name, spec in found.items()} == {
        "langfuse": True,  # held: never loaded
        "github": False,
        "jira": True,  # suspended by the user
        "metrics": False,
    }
    assert (found["github"]["schedule"], found["github"]["timeZone"]) == ("5 * * * *", "Europe/Berlin")


def test_a_transform_is_told_what_to_do(inputs: Inputs) -> None:
    covers = [FinishedLoad("u1", "github", NOW), FinishedLoad("u2", "jira", NOW)]
    job = transform.job(inputs, 7, covers)
    container = job["spec"]["template"]["spec"]["containers"][0]
    variables = {v["name"]: v["value"] for v in container["env"]}
    request = TransformRequest.model_validate_json(variables["FORGE_TRANSFORM"])
    assert request.loaded == ["github", "jira"]
    assert [(s.name, s.type) for s in request.sources][3] == ("metrics", "prometheus")
    assert request.variables["ticket_key_pattern"] == "SHOP-[0-9]+"
    assert request.bronze_retention_days == 90
    assert transform.decode_covers(job["metadata"]["annotations"]) == covers
    assert job["metadata"]["name"] == "acme-transform-7"


@pytest.mark.parametrize("text", ["", "[", "[1]", '[["a","b","never"]]', '{"a": 1}'])
def test_a_broken_batch_is_empty(text: str) -> None:
    assert transform.decode_covers({"observability.forge.dev/covers": text}) == []


def test_the_store_secret_holds_what_is_needed(inputs: Inputs) -> None:
    secret = store.auth_secret(inputs, "p w/", "r@:")
    assert set(secret["stringData"]) == set(store.SECRET_KEYS)
    dsn = StoreDsn.parse(secret["stringData"]["dsn"])
    assert (dsn.host, dsn.port, dsn.user, dsn.password) == ("acme-store.team-a.svc", 8123, "forge", "p w/")
    assert StoreDsn.parse(secret["stringData"]["reader-dsn"]).user == "reader"


def test_an_external_store_has_no_children_of_ours() -> None:
    def external(manifest: Manifest) -> None:
        manifest["spec"]["store"] = {"external": {"dsnSecretRef": {"name": "mine", "key": "url"}}}

    inputs = Inputs(
        stack=make_stack(external), settings=make_settings(), store_secret="mine", dsn_key="url", reader_key="url"
    )
    children = desired_children(inputs)
    assert not [m for m in children if "store" in m["metadata"]["name"]]
    for _, template in pod_templates(children):
        volume = next(v for v in template["spec"]["volumes"] if v["name"] == "store")
        assert volume["secret"]["secretName"] == "mine"
        assert volume["secret"]["items"] == [{"key": "url", "path": "dsn"}]


def test_a_token_only_where_one_is_wanted(inputs: Inputs) -> None:
    def everybody(manifest: Manifest) -> None:
        manifest["spec"]["api"]["auth"] = {"mode": "None"}

    closed = json.dumps(api.deployment(inputs))
    opened = json.dumps(api.deployment(Inputs(stack=make_stack(everybody), settings=make_settings(), store_secret="s")))
    assert "acme-api-token" in closed
    assert "FORGE_API_TOKEN_FILE" in closed
    assert "token" not in opened.replace("automountServiceAccountToken", "").lower()


def test_only_the_hash_of_a_secret_restarts_pods(inputs: Inputs) -> None:
    """What is not the API's does not change when its token does."""
    before, after = everything(inputs), everything(replace(inputs, api_hash="another"))
    changed = [(m["kind"], m["metadata"]["name"]) for m, n in zip(before, after, strict=True) if m != n]
    assert changed == [("Deployment", "acme-api")]


def test_building_changes_no_input(inputs: Inputs) -> None:
    again = copy.deepcopy(everything(inputs))
    assert everything(inputs) == again


def test_no_network_policies_when_unwanted() -> None:
    def off(manifest: Manifest) -> None:
        manifest["spec"]["networkPolicy"] = {"enabled": False}

    children = desired_children(Inputs(stack=make_stack(off), settings=make_settings(), store_secret="s"))
    assert not [m for m in children if m["kind"] == "NetworkPolicy"]
