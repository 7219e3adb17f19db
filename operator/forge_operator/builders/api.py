"""The API: Deployment, Service, Ingress, and the Secret of a made token."""

from __future__ import annotations

from typing import Any

from forge_stack import wire
from forge_stack.model import Api

from forge_operator.builders.common import (
    DSN_DIR,
    TOKEN_DIR,
    Inputs,
    Shape,
    budget,
    child,
    container,
    env,
    pod_selector,
    pod_template,
    secret_volume,
)
from forge_operator.names import CHILDREN, SECRETS_ANNOTATION, Manifest, api_name, token_secret

PORT = 8080
SERVICE_PORT = 80
COMPONENT = "api"


def children(inputs: Inputs) -> list[Manifest]:
    """All but the token's Secret."""
    wanted = inputs.stack.spec.api
    return [
        deployment(inputs),
        service(inputs),
        *([disruption_budget(inputs)] if several(wanted) else []),
        *([ingress(inputs)] if wanted.ingress else []),
    ]


def several(wanted: Api) -> bool:
    """Whether more than one pod may run."""
    return wanted.replicas > 1 or (wanted.autoscaled and wanted.replicas > 0)


def token_name(inputs: Inputs) -> str:
    """The Secret that holds the API's tokens; empty when everybody may ask."""
    auth = inputs.stack.spec.api.auth
    if auth.mode == "None":
        return ""
    return auth.token_secret_ref.name if auth.token_secret_ref else token_secret(inputs.name)


def made_token(inputs: Inputs, token: str) -> Manifest:
    """The Secret of a token that the operator made; created once."""
    return child(
        inputs, CHILDREN["Secret"], token_secret(inputs.name), COMPONENT, type="Opaque", stringData={"token": token}
    )


def deployment(inputs: Inputs) -> Manifest:
    """The pods. They roll when the DSN or the token changes, because a pod reads both only once."""
    wanted = inputs.stack.spec.api
    variables = {
        wire.ENV_STORE_DSN_FILE: f"{DSN_DIR}/dsn",
        wire.ENV_API_HOST: "0.0.0.0",  # noqa: S104 - a container's own address is not known before it runs
        wire.ENV_API_PORT: str(PORT),
        wire.ENV_STACK_NAME: inputs.name,
    }
    mounts = [
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of the pod
        {"name": "store", "mountPath": DSN_DIR, "readOnly": True},
    ]
    volumes = [
        {"name": "tmp", "emptyDir": {}},
        secret_volume("store", inputs.store_secret, {inputs.reader_key: "dsn"}),
    ]
    if token := token_name(inputs):
        variables[wire.ENV_API_TOKEN_FILE] = f"{TOKEN_DIR}/token"
        mounts.append({"name": "token", "mountPath": TOKEN_DIR, "readOnly": True})
        volumes.append(secret_volume("token", token, {"token": "token"}))
    shape = Shape(COMPONENT, "api", wanted.image, wanted.resources, wanted.pod_template, several(wanted))
    program = container(
        inputs,
        shape,
        env(**variables),
        ports=[{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        volumeMounts=mounts,
        startupProbe={"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1, "failureThreshold": 60},
        readinessProbe={
            "httpGet": {"path": "/readyz", "port": "http"},
            "periodSeconds": 5,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
        },
        livenessProbe={
            "httpGet": {"path": "/healthz", "port": "http"},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
    )
    return child(
        inputs,
        CHILDREN["Deployment"],
        api_name(inputs.name),
        COMPONENT,
        spec={
            **({} if wanted.autoscaled and wanted.replicas else {"replicas": wanted.replicas}),
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": pod_selector(inputs, COMPONENT)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": pod_template(
                inputs,
                shape,
                annotations={SECRETS_ANNOTATION: inputs.api_hash},
                terminationGracePeriodSeconds=30,
                containers=[program],
                volumes=volumes,
            ),
        },
    )


def service(inputs: Inputs) -> Manifest:
    """Where the API answers inside the cluster."""
    return child(
        inputs,
        CHILDREN["Service"],
        api_name(inputs.name),
        COMPONENT,
        spec={
            "selector": pod_selector(inputs, COMPONENT),
            "ports": [{"name": "http", "port": SERVICE_PORT, "targetPort": "http", "protocol": "TCP"}],
        },
    )


def disruption_budget(inputs: Inputs) -> Manifest:
    """A drain takes one pod at a time."""
    return child(
        inputs,
        CHILDREN["PodDisruptionBudget"],
        api_name(inputs.name),
        COMPONENT,
        spec=budget(inputs, COMPONENT),
    )


def ingress(inputs: Inputs) -> Manifest:
    """Where the API answers from outside."""
    wanted = inputs.stack.spec.api.ingress
    if wanted is None:
        raise ValueError("the stack asks for no Ingress")
    backend = {"service": {"name": api_name(inputs.name), "port": {"name": "http"}}}
    spec: dict[str, Any] = {
        "rules": [{"host": wanted.host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]
    }
    if wanted.class_name:
        spec["ingressClassName"] = wanted.class_name
    if wanted.tls_secret_name:
        spec["tls"] = [{"hosts": [wanted.host], "secretName": wanted.tls_secret_name}]
    manifest = child(inputs, CHILDREN["Ingress"], api_name(inputs.name), COMPONENT, spec=spec)
    if wanted.annotations:
        manifest["metadata"]["annotations"] = dict(wanted.annotations)
    return manifest
