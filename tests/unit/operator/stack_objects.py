"""A rich stack, the operator's settings, and Kubernetes objects as the API server would give them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from forge_operator.cache import Entry, shape_of
from forge_operator.names import controller_uid
from forge_operator.settings import Settings
from forge_operator.world import World, see
from forge_stack.model import ObservabilityStack

Manifest = dict[str, Any]
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
RICH: Manifest = {
    "apiVersion": "observability.forge.dev/v1alpha1",
    "kind": "ObservabilityStack",
    "metadata": {"name": "acme", "namespace": "team-a", "uid": "uid-of-acme", "generation": 3},
    "spec": {
        "store": {
            "managed": {
                "storage": {"size": "20Gi", "storageClassName": "fast"},
                "resources": {"requests": {"cpu": "1", "memory": "4Gi"}, "limits": {"memory": "4Gi"}},
            }
        },
        "sources": [
            {"name": "langfuse", "langfuse": {"credentialsSecretRef": {"name": "langfuse"}}},
            {
                "name": "github",
                "github": {"credentialsSecretRef": {"name": "github"}, "repositories": ["acme/shop"]},
                "schedule": "5 * * * *",
                "timeZone": "Europe/Berlin",
            },
            {
                "name": "jira",
                "jira": {
                    "url": "https://acme.atlassian.net",
                    "credentialsSecretRef": {"name": "jira"},
                    "projects": ["SHOP"],
                    "since": "2026-01-01T00:00:00Z",
                },
                "suspend": True,
            },
            {"name": "metrics", "prometheus": {"url": "http://prometheus:9090"}},
        ],
        "transform": {"variables": {"ticketKeyPattern": "SHOP-[0-9]+"}},
        "api": {
            "replicas": 2,
            "ingress": {
                "host": "forge.acme.example",
                "className": "nginx",
                "tlsSecretName": "forge-tls",
                "annotations": {"a": "b"},
            },
        },
        "monitoring": {"serviceMonitor": True, "labels": {"release": "prometheus"}},
        "retention": {"bronze": 90},
        "deletionPolicy": "Delete",
    },
}


def make_settings(**change: Any) -> Settings:
    values: dict[str, Any] = {
        "images": {name: f"forge/{name}:1" for name in ("store", "pipelines", "dbt", "api")},
        "pull_policies": {"api": "Always"},
        "pull_secrets": ("registry",),
    }
    return Settings(**{**values, **change})


def make_stack(change: Callable[[Manifest], None] | None = None) -> ObservabilityStack:
    manifest = copy.deepcopy(RICH)
    if change is not None:
        change(manifest)
    return ObservabilityStack.parse(manifest)


def at(seconds: float = 0) -> str:
    """A time as Kubernetes writes it, that many seconds after NOW."""
    return (NOW + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def world_of(*items: Manifest, seconds: float = 0) -> World:
    """What the operator knows of these objects, that many seconds after NOW."""
    entries = {
        (item["kind"], item["metadata"]["name"]): Entry(
            orjson.dumps(shape_of(item)), controller_uid(item), version=1, digest=b""
        )
        for item in items
    }
    return see("uid-of-acme", entries, {}, NOW + timedelta(seconds=seconds))


def make_job(
    name: str,
    *,
    component: str = "load",
    owner: str = "uid-of-acme",
    labels: dict[str, str] | None = None,
    ended: str = "",
    seconds: float = 0,
    annotations: dict[str, str] | None = None,
    reason: str = "",
) -> Manifest:
    """A Job; `ended` is Complete or Failed, or another condition that is not terminal."""
    status: Manifest = {"startTime": at(seconds - 10)}
    if ended:
        condition = {"type": ended, "status": "True", "lastTransitionTime": at(seconds), "reason": reason}
        status["conditions"] = [condition]
        if ended == "Complete":
            status["completionTime"] = at(seconds)
    return {
        "kind": "Job",
        "apiVersion": "batch/v1",
        "metadata": {
            "name": name,
            "namespace": "team-a",
            "uid": f"uid-of-{name}",
            "creationTimestamp": at(seconds - 11),
            "labels": {"app.kubernetes.io/component": component, **(labels or {})},
            "annotations": annotations or {},
            "ownerReferences": [{"uid": owner, "controller": True, "kind": "ObservabilityStack", "name": "acme"}],
        },
        "status": status,
    }


def make_pod(
    job: Manifest, *, container: str = "load", terminated: Manifest | None = None, waiting: Manifest | None = None
) -> Manifest:
    """A pod of a Job (or of another owner) in the given state."""
    state = {"terminated": terminated} if terminated else {"waiting": waiting} if waiting else {"running": {}}
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "name": f"{job['metadata']['name']}-x1",
            "namespace": "team-a",
            "creationTimestamp": at(),
            "labels": {},
            "ownerReferences": [
                {
                    "kind": job["kind"],
                    "name": job["metadata"]["name"],
                    "uid": job["metadata"]["uid"],
                    "controller": True,
                }
            ],
        },
        "status": {
            "phase": "Succeeded" if terminated else "Pending",
            "containerStatuses": [{"name": container, "image": "forge/pipelines:1", "state": state}],
        },
    }
