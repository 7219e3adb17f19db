"""The managed store: ClickHouse in a StatefulSet, configured by the files its official image reads.

What is relied on, by ClickHouse's documents: configuration files in `config.d` and `users.d` are merged by name
(https://clickhouse.com/docs/operations/configuration-files), `@from_env` keeps passwords out of them, `/ping` answers
when the HTTP port serves, and the image's user is 101:101.
"""

from __future__ import annotations

import functools
import hashlib
from typing import Any

import yaml
from forge_stack.model import ManagedStore
from forge_stack.wire import StoreDsn

from forge_operator.builders.common import (
    Inputs,
    Shape,
    budget,
    child,
    container,
    env,
    pod_selector,
    pod_template,
)
from forge_operator.names import CHILDREN, CONFIG_ANNOTATION, SECRETS_ANNOTATION, Manifest, store_name, store_secret

USER_ID = 101
HTTP_PORT = 8123
WRITER = "forge"
READER = "reader"
SHUTDOWN_WAIT = 60
"""Seconds that a stopping server gives to running queries."""

SECRET_KEYS = ("dsn", "reader-dsn", "writer-password", "writer-sha256", "reader-password", "reader-sha256")


def children(inputs: Inputs) -> list[Manifest]:
    """The children of a managed store; none when somebody else runs it."""
    managed = inputs.stack.spec.store.managed
    if managed is None:
        return []
    return [
        config_map(inputs),
        service(inputs),
        headless_service(inputs),
        stateful_set(inputs, managed),
        disruption_budget(inputs),
    ]


def auth_secret(inputs: Inputs, writer_password: str, reader_password: str) -> Manifest:
    """The users' passwords and what is made of them. Created once: data and clients rely on it."""
    host = f"{store_name(inputs.name)}.{inputs.namespace}.svc"

    def dsn(user: str, password: str) -> str:
        return StoreDsn(host=host, port=HTTP_PORT, user=user, password=password, secure=False).url

    return child(
        inputs,
        CHILDREN["Secret"],
        store_secret(inputs.name),
        "store",
        type="Opaque",
        stringData={
            "dsn": dsn(WRITER, writer_password),
            "reader-dsn": dsn(READER, reader_password),
            "writer-password": writer_password,
            "writer-sha256": hashlib.sha256(writer_password.encode()).hexdigest(),
            "reader-password": reader_password,
            "reader-sha256": hashlib.sha256(reader_password.encode()).hexdigest(),
        },
    )


def server_config() -> dict[str, Any]:
    """`config.d`: what differs from the server's own defaults, and what its image puts there for containers."""
    no_log = {"@remove": "1"}
    week = {"ttl": "event_date + INTERVAL 7 DAY DELETE"}
    return {
        "listen_host": ["0.0.0.0", "::"],  # noqa: S104 - a container's own address is not known before it runs
        "listen_try": 1,
        "logger": {"level": "information", "console": True, "log": no_log, "errorlog": no_log},
        "mysql_port": {"@remove": "1"},
        "postgresql_port": {"@remove": "1"},
        "interserver_http_port": {"@remove": "1"},
        "max_server_memory_usage_to_ram_ratio": 0.85,
        "shutdown_wait_unfinished": SHUTDOWN_WAIT,
        "shutdown_wait_unfinished_queries": True,
        "query_log": week,
        "part_log": week,
        "metric_log": week,
        "asynchronous_metric_log": week,
        "trace_log": {"@remove": "1"},
        "text_log": {"@remove": "1"},
        "processors_profile_log": {"@remove": "1"},
        "prometheus": {
            "endpoint": "/metrics",
            "port": 9363,
            "metrics": True,
            "events": True,
            "asynchronous_metrics": True,
        },
    }


def user_config() -> dict[str, Any]:
    """`users.d`: the writer and the reader; the built-in user, who has no password, goes."""
    anywhere = {"ip": ["::/0"]}
    return {
        "profiles": {
            "forge": {"max_execution_time": 3600},
            "reader": {"readonly": 2, "max_execution_time": 60},
        },
        "users": {
            "default": {"@remove": "1"},
            WRITER: {
                "password_sha256_hex": {"@from_env": "FORGE_STORE_WRITER_SHA256"},
                "networks": anywhere,
                "profile": "forge",
                "quota": "default",
            },
            READER: {
                "password_sha256_hex": {"@from_env": "FORGE_STORE_READER_SHA256"},
                "networks": anywhere,
                "profile": "reader",
                "quota": "default",
            },
        },
    }


class _Dumper(yaml.SafeDumper):
    """YAML without anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def render(config: dict[str, Any]) -> str:
    """A configuration file's text."""
    return yaml.dump(config, Dumper=_Dumper, sort_keys=True)


@functools.cache
def server_file() -> str:
    """`config.d/forge-server.yaml`; the same for every stack, and slow to write."""
    return render(server_config())


@functools.cache
def user_file() -> str:
    """`users.d/forge-users.yaml`; as above."""
    return render(user_config())


def config_map(inputs: Inputs) -> Manifest:
    """Both files; the server takes a change of users without a restart."""
    return child(
        inputs,
        CHILDREN["ConfigMap"],
        f"{store_name(inputs.name)}-config",
        "store",
        data={
            "server.yaml": server_file(),
            "users.yaml": user_file(),
        },
    )


def service(inputs: Inputs) -> Manifest:
    """Where clients reach a store that is ready."""
    return child(
        inputs,
        CHILDREN["Service"],
        store_name(inputs.name),
        "store",
        spec={
            "selector": pod_selector(inputs, "store"),
            "ports": [{"name": "http", "port": HTTP_PORT, "targetPort": "http", "protocol": "TCP"}],
        },
    )


def headless_service(inputs: Inputs) -> Manifest:
    """The names of the single pods, ready or not."""
    return child(
        inputs,
        CHILDREN["Service"],
        f"{store_name(inputs.name)}-headless",
        "store",
        spec={
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": pod_selector(inputs, "store"),
            "ports": [{"name": "http", "port": HTTP_PORT, "targetPort": "http", "protocol": "TCP"}],
        },
    )


def disruption_budget(inputs: Inputs) -> Manifest:
    """At most one pod down by a drain. With one replica a drain must stay possible."""
    return child(
        inputs,
        CHILDREN["PodDisruptionBudget"],
        store_name(inputs.name),
        "store",
        spec=budget(inputs, "store"),
    )


def claim_templates(inputs: Inputs, managed: ManagedStore) -> list[Manifest]:
    """The data volume. The live object's templates win: they cannot be changed in place."""
    if inputs.claim_templates is not None:
        return inputs.claim_templates
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": str(managed.storage.size)}},
    }
    if managed.storage.storage_class_name:
        spec["storageClassName"] = managed.storage.storage_class_name
    return [{"metadata": {"name": "data", "labels": pod_selector(inputs, "store")}, "spec": spec}]


def stateful_set(inputs: Inputs, managed: ManagedStore) -> Manifest:
    """The server. A restart follows a change of the server's file or of the users' Secret, of nothing else."""
    name = store_name(inputs.name)
    policy = inputs.stack.spec.deletion_policy
    config = server_file()
    ping = {"httpGet": {"path": "/ping", "port": "http"}}
    shape = Shape(
        "store", "store", managed.image, managed.resources, managed.pod_template, several=managed.replicas > 1
    )
    server = container(
        inputs,
        shape,
        [
            *env(CLICKHOUSE_SKIP_USER_SETUP="1", CLICKHOUSE_DO_NOT_CHOWN="1", CLICKHOUSE_WATCHDOG_ENABLE="0"),
            *(
                {"name": f"FORGE_STORE_{user}_SHA256", "valueFrom": {"secretKeyRef": {"name": ref, "key": key}}}
                for user, ref, key in (
                    ("WRITER", inputs.store_secret, "writer-sha256"),
                    ("READER", inputs.store_secret, "reader-sha256"),
                )
            ),
        ],
        ports=[{"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"}],
        volumeMounts=[
            {"name": "data", "mountPath": "/var/lib/clickhouse"},
            {"name": "logs", "mountPath": "/var/log/clickhouse-server"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of the pod
            {"name": "server-config", "mountPath": "/etc/clickhouse-server/config.d", "readOnly": True},
            {"name": "user-config", "mountPath": "/etc/clickhouse-server/users.d", "readOnly": True},
        ],
        # Loading the parts of a big table takes its time: half an hour until the other probes count.
        startupProbe={**ping, "periodSeconds": 2, "failureThreshold": 900, "timeoutSeconds": 3},
        readinessProbe={**ping, "periodSeconds": 5, "failureThreshold": 3, "timeoutSeconds": 3},
        livenessProbe={**ping, "periodSeconds": 10, "failureThreshold": 12, "timeoutSeconds": 5},
    )

    def file(volume: str, key: str) -> dict[str, Any]:
        return {
            "name": volume,
            "configMap": {
                "name": f"{name}-config",
                "defaultMode": 0o444,
                "items": [{"key": key, "path": f"forge-{key}"}],
            },
        }

    return child(
        inputs,
        CHILDREN["StatefulSet"],
        name,
        "store",
        spec={
            "serviceName": f"{name}-headless",
            "replicas": managed.replicas,
            "revisionHistoryLimit": 5,
            # A pod that never becomes ready (a bad image) must not keep its own repair from rolling out.
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": pod_selector(inputs, "store")},
            # Deleted volumes follow the StatefulSet, which follows its stack: no finalizer is needed.
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": policy, "whenScaled": "Retain"},
            "volumeClaimTemplates": claim_templates(inputs, managed),
            "template": pod_template(
                inputs,
                shape,
                annotations={
                    CONFIG_ANNOTATION: hashlib.sha256(config.encode()).hexdigest()[:16],
                    SECRETS_ANNOTATION: inputs.store_hash,
                },
                security_context={
                    "runAsUser": USER_ID,
                    "runAsGroup": USER_ID,
                    "fsGroup": USER_ID,
                    "fsGroupChangePolicy": "OnRootMismatch",
                },
                terminationGracePeriodSeconds=SHUTDOWN_WAIT * 2,
                containers=[server],
                volumes=[
                    file("server-config", "server.yaml"),
                    file("user-config", "users.yaml"),
                    {"name": "logs", "emptyDir": {}},
                    {"name": "tmp", "emptyDir": {}},
                ],
            ),
        },
    )
