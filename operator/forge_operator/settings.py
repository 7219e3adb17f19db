"""The operator's own settings, from its environment (the chart sets it)."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

IMAGES = ("store", "pipelines", "dbt", "api")


@dataclass(frozen=True)
class Settings:
    """What the operator is told.

    `images` maps store, pipelines, dbt and api to the image that children run unless the stack names its own.
    `identity` is the holder of the Lease: a pod's name, so that a container that is started again in its pod has its
    own Lease at once; elsewhere it must not outlive the process. Times are seconds.
    """

    images: Mapping[str, str]
    pull_policies: Mapping[str, str] = field(default_factory=dict)
    pull_secrets: tuple[str, ...] = ()
    watch_namespaces: tuple[str, ...] = ()
    operator_class: str = ""
    namespace: str = "default"
    identity: str = "forge-operator"
    leader_election: bool = False
    workers: int = 8
    resync: float = 300.0
    request_timeout: float = 30.0
    health_port: int = 8080

    @classmethod
    def read(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """Read the environment. Raises ValueError that names the variable when one is missing or no number."""
        images = {}
        for name in IMAGES:
            variable = f"FORGE_IMAGE_{name.upper()}"
            if not env.get(variable):
                raise ValueError(f"{variable} is not set; it names the image of the {name}")
            images[name] = env[variable]
        return cls(
            images=images,
            pull_policies={name: env.get(f"FORGE_IMAGE_{name.upper()}_PULL_POLICY", "") for name in IMAGES},
            pull_secrets=_words(env.get("FORGE_IMAGE_PULL_SECRETS", "")),
            watch_namespaces=_words(env.get("FORGE_WATCH_NAMESPACES", "")),
            operator_class=env.get("FORGE_OPERATOR_CLASS", ""),
            namespace=env.get("FORGE_OPERATOR_NAMESPACE", "default"),
            identity=env.get("FORGE_IDENTITY") or f"{socket.gethostname()}-{os.getpid()}",
            leader_election=env.get("FORGE_LEADER_ELECTION", "false") == "true",
            workers=int(_number(env, "FORGE_WORKERS", cls.workers)),
            resync=_number(env, "FORGE_RESYNC_SECONDS", cls.resync),
            health_port=int(_number(env, "FORGE_HEALTH_PORT", cls.health_port)),
        )


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    try:
        return float(env.get(name, "") or default)
    except ValueError as error:
        raise ValueError(f"{name} is {env[name]!r}, which is no number") from error
