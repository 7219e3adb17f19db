"""What all builders share: their inputs, metadata, and pods that the restricted Pod Security Standard admits
(https://kubernetes.io/docs/concepts/security/pod-security-standards/)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forge_stack.model import API_VERSION, KIND, ObservabilityStack
from forge_stack.pods import PodTemplate, Resources, TopologySpread, overlaid
from forge_stack.schema import Part

from forge_operator.names import (
    CHILDREN,
    COMPONENT_LABEL,
    INSTANCE_LABEL,
    MANAGED_BY_LABEL,
    MANAGER,
    NAME_LABEL,
    PART_OF_LABEL,
    STACK_LABEL,
    Kind,
    Manifest,
)
from forge_operator.settings import Settings

WORK_DIR = "/work"
DSN_DIR = "/etc/forge/store"
CREDENTIALS_DIR = "/etc/forge/credentials"
TOKEN_DIR = "/etc/forge/token"  # noqa: S105 - a folder, no secret


@dataclass(frozen=True)
class Inputs:
    """What the children are built from: the stack, the operator's settings, and what was read of the world.

    `dsn_key` and `reader_key` are keys of the Secret `store_secret`. `store_hash` and `api_hash` stand for the content
    of the Secrets that a running pod reads only once; empty until they exist. `held` names sources whose CronJob must
    not fire yet. `claim_templates` are the live StatefulSet's, which Kubernetes lets nobody change.
    """

    stack: ObservabilityStack
    settings: Settings
    store_secret: str
    dsn_key: str = "dsn"
    reader_key: str = "reader-dsn"
    store_hash: str = ""
    api_hash: str = ""
    held: frozenset[str] = frozenset()
    claim_templates: list[Manifest] | None = None
    service_monitors: bool = False

    @property
    def name(self) -> str:
        """The stack's name."""
        return self.stack.metadata.name

    @property
    def namespace(self) -> str:
        """The stack's namespace."""
        return self.stack.metadata.namespace


def labels(inputs: Inputs, component: str, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The recommended labels and the stack's own, over any that are given."""
    return {
        **(more or {}),
        NAME_LABEL: "forge-observability",
        INSTANCE_LABEL: inputs.name,
        COMPONENT_LABEL: component,
        PART_OF_LABEL: inputs.name,
        MANAGED_BY_LABEL: MANAGER,
        STACK_LABEL: inputs.name,
    }


def pod_selector(inputs: Inputs, component: str) -> dict[str, str]:
    """The labels by which a component's pods are selected; they never change, because selectors cannot."""
    return {STACK_LABEL: inputs.name, COMPONENT_LABEL: component}


def budget(inputs: Inputs, component: str) -> dict[str, Any]:
    """A drain takes one pod at a time, and a pod that is not ready anyway holds up no drain."""
    return {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": pod_selector(inputs, component)},
    }


def owner(inputs: Inputs) -> dict[str, Any]:
    """The reference by which Kubernetes deletes a child with its stack."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": inputs.name,
        "uid": inputs.stack.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def child(
    inputs: Inputs, kind: Kind, name: str, component: str, more: Mapping[str, str] | None = None, **body: Any
) -> Manifest:
    """A child's manifest: identity, labels, owner, and the given top-level fields."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {
            "name": name,
            "namespace": inputs.namespace,
            "labels": labels(inputs, component, more),
            "ownerReferences": [owner(inputs)],
        },
        **body,
    }


@dataclass(frozen=True)
class Shape:
    """What the stack and the operator's settings say of one component's pods.

    `program` is the key of the settings' images; `image` the stack's own, if it names one. `several` says that pods of
    it run side by side for as long as the component is wanted.
    """

    component: str
    program: str
    image: str | None
    resources: Resources
    template: PodTemplate | None
    several: bool = False


def container(inputs: Inputs, shape: Shape, variables: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """The component's container: it may write only where a volume is mounted and gains no privilege."""
    pull_policy = inputs.settings.pull_policies.get(shape.program, "")
    own = {variable["name"] for variable in variables}
    added = [v for v in overlaid(inputs.stack.spec.pod_template, shape.template).env if v.name not in own]
    resources = shape.resources.model_dump(mode="json", exclude_defaults=True)
    return {
        "name": shape.component,
        "image": shape.image or inputs.settings.images[shape.program],
        **({"imagePullPolicy": pull_policy} if pull_policy else {}),
        **({"resources": resources} if resources else {}),
        "env": [*variables, *(_dump(variable) for variable in added)],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        **more,
    }


def pod_template(
    inputs: Inputs,
    shape: Shape,
    *,
    more: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    security_context: Mapping[str, Any] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """The template of the component's pods: what every pod has, with what the stack lays over it.

    The images name a numeric user, so that no uid is pinned here (the store's is). Nothing that is empty is written:
    the API server would drop it, or fill it in, and call it a change.
    """
    over = overlaid(inputs.stack.spec.pod_template, shape.template)
    context = _dump(over.security_context) if over.security_context else {}
    pull_secrets = dict.fromkeys([*inputs.settings.pull_secrets, *over.image_pull_secrets])
    placed = {
        "imagePullSecrets": [{"name": name} for name in pull_secrets],
        "nodeSelector": over.node_selector,
        "tolerations": [_dump(toleration) for toleration in over.tolerations],
        "affinity": _dump(over.affinity) if over.affinity else {},
        "topologySpreadConstraints": _spread(inputs, shape, over),
        "priorityClassName": over.priority_class_name,
    }
    notes = {**over.annotations, **(annotations or {})}
    return {
        "metadata": {
            "labels": labels(inputs, shape.component, {**over.labels, **(more or {})}),
            **({"annotations": notes} if notes else {}),
        },
        "spec": {
            "serviceAccountName": inputs.name,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
                **(security_context or {}),
                **context,
            },
            **{name: value for name, value in placed.items() if value},
            **spec,
        },
    }


def _dump(part: Part) -> dict[str, Any]:
    """As in a pod: what is absent or empty is left out."""
    return {name: value for name, value in part.model_dump(by_alias=True).items() if value not in (None, "", {})}


def _spread(inputs: Inputs, shape: Shape, over: PodTemplate) -> list[dict[str, Any]]:
    """Over nodes, where possible, unless the stack says otherwise."""
    wanted = over.topology_spread_constraints
    if not wanted and shape.several:
        wanted = [TopologySpread(topology_key="kubernetes.io/hostname")]
    selected = {"labelSelector": {"matchLabels": pod_selector(inputs, shape.component)}}
    return [{**_dump(constraint), **selected} for constraint in wanted]


def secret_volume(name: str, secret: str, items: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A Secret as files; `items` maps keys to file names, all keys when absent."""
    source: dict[str, Any] = {"secretName": secret, "defaultMode": 0o444}
    if items:
        source["items"] = [{"key": key, "path": path} for key, path in items.items()]
    return {"name": name, "secret": source}


def env(**values: str) -> list[dict[str, Any]]:
    """Environment variables, in the order given."""
    return [{"name": name, "value": value} for name, value in values.items()]


def service_account(inputs: Inputs) -> Manifest:
    """The identity of the stack's pods: it may do nothing, and no pod gets its token."""
    return child(inputs, CHILDREN["ServiceAccount"], inputs.name, "stack", automountServiceAccountToken=False)
