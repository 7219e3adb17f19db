"""Names, labels and kinds: what the operator calls things, and where the API server keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forge_stack.model import GROUP, PLURAL, VERSION

Manifest = dict[str, Any]
"""A Kubernetes object as JSON."""

Key = tuple[str, str]
"""A stack: namespace and name."""

MANAGER = "forge-operator"
"""The field manager of every server-side apply, the value of the managed-by label, the reporter of Events."""

NAME_LABEL = "app.kubernetes.io/name"
INSTANCE_LABEL = "app.kubernetes.io/instance"
COMPONENT_LABEL = "app.kubernetes.io/component"
PART_OF_LABEL = "app.kubernetes.io/part-of"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
STACK_LABEL = f"{GROUP}/stack"
SOURCE_LABEL = f"{GROUP}/source"
SEQUENCE_LABEL = f"{GROUP}/sequence"
FIRST_LABEL = f"{GROUP}/first-load"
CLIENT_LABEL = f"{GROUP}/store-client"
"""Pods of the namespace with this label and the stack's name as its value may reach the store too (Grafana, say)."""

CLASS_LABEL = f"{GROUP}/operator"
"""On a stack: which operator reconciles it, when several share a cluster (a new version beside the old one, a test)."""

COVERS_ANNOTATION = f"{GROUP}/covers"
CONFIG_ANNOTATION = f"{GROUP}/config"
SECRETS_ANNOTATION = f"{GROUP}/secrets"
REQUEST_ANNOTATION = f"{GROUP}/request"
"""On a Job: the requests for a run that it answers."""
WINDOW_ANNOTATION = f"{GROUP}/window"
"""On a load's Job: it loads this window of the past again, and says nothing of how fresh its source is."""
GENERATION_ANNOTATION = f"{GROUP}/generation"
"""On a transform's Job: the generation of the spec that it was made from."""


@dataclass(frozen=True)
class Kind:
    """A kind and its place in the API."""

    kind: str
    group: str
    version: str
    plural: str

    @property
    def api_version(self) -> str:
        """As in a manifest."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """The URL path of the collection (of all namespaces when empty), of one object or of its subresource."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        within = f"namespaces/{namespace}" if namespace else ""
        return "/".join(part for part in (root, within, self.plural, name, subresource) if part)


STACK = Kind("ObservabilityStack", GROUP, VERSION, PLURAL)
EVENT = Kind("Event", "events.k8s.io", "v1", "events")
SERVICE_MONITOR = Kind("ServiceMonitor", "monitoring.coreos.com", "v1", "servicemonitors")
CHILDREN: Mapping[str, Kind] = {
    kind.kind: kind
    for kind in (
        Kind("ServiceAccount", "", "v1", "serviceaccounts"),
        Kind("Secret", "", "v1", "secrets"),
        Kind("ConfigMap", "", "v1", "configmaps"),
        Kind("Service", "", "v1", "services"),
        Kind("Pod", "", "v1", "pods"),
        Kind("StatefulSet", "apps", "v1", "statefulsets"),
        Kind("Deployment", "apps", "v1", "deployments"),
        Kind("PodDisruptionBudget", "policy", "v1", "poddisruptionbudgets"),
        Kind("NetworkPolicy", "networking.k8s.io", "v1", "networkpolicies"),
        Kind("Ingress", "networking.k8s.io", "v1", "ingresses"),
        Kind("CronJob", "batch", "v1", "cronjobs"),
        Kind("Job", "batch", "v1", "jobs"),
    )
}
"""Every kind of child that each cluster has; they are watched and read by the labels `selector` gives."""


def kind_of(manifest: Manifest) -> Kind:
    """The kind of a child's manifest."""
    return SERVICE_MONITOR if manifest["kind"] == SERVICE_MONITOR.kind else CHILDREN[manifest["kind"]]


def selector(stack: str = "") -> str:
    """The label selector of the children of one stack, or of all."""
    ours = f"{MANAGED_BY_LABEL}={MANAGER}"
    return f"{ours},{STACK_LABEL}={stack}" if stack else f"{ours},{STACK_LABEL}"


def class_selector(operator_class: str) -> str:
    """The label selector of the stacks of one operator; those without the label are the one without a class."""
    return f"{CLASS_LABEL}={operator_class}" if operator_class else f"!{CLASS_LABEL}"


def controller_uid(manifest: Manifest) -> str:
    """The uid of the object that controls this one; empty when none does."""
    references = manifest["metadata"].get("ownerReferences", [])
    return next((str(reference["uid"]) for reference in references if reference.get("controller")), "")


def label(manifest: Manifest, name: str) -> str:
    """A label's value; empty when it is absent."""
    return str(manifest["metadata"].get("labels", {}).get(name, ""))


def annotation(manifest: Manifest, name: str) -> str:
    """An annotation's value; empty when it is absent."""
    return str((manifest["metadata"].get("annotations") or {}).get(name, ""))


def store_name(stack: str) -> str:
    """The store's StatefulSet, Service and PodDisruptionBudget."""
    return f"{stack}-store"


def store_secret(stack: str) -> str:
    """The Secret of a managed store's users."""
    return f"{stack}-store-auth"


def api_name(stack: str) -> str:
    """The API's Deployment, Service, Ingress."""
    return f"{stack}-api"


def token_secret(stack: str) -> str:
    """The Secret of a made API token."""
    return f"{stack}-api-token"


def load_name(stack: str, source: str) -> str:
    """A source's CronJob; at most 52 characters (the CronJob controller adds 11)."""
    return f"{stack}-load-{source}"


def first_load_name(stack: str, source: str, attempt: int) -> str:
    """The Job of a source's first load: `-first`, then `-first-2` and so on."""
    return f"{load_name(stack, source)}-first" + (f"-{attempt}" if attempt > 1 else "")


def run_name(stack: str, source: str, request: str) -> str:
    """The Job of a load that was asked for; with the longest names it has the 63 characters that a label may have."""
    return f"{load_name(stack, source)}-run-{request[:6]}"


def transform_name(stack: str, sequence: int) -> str:
    """The Job of one transform. The name is the lock: two writers of one sequence collide."""
    return f"{stack}-transform-{sequence}"
