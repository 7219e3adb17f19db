"""The world as one reconcile sees it: the stack, its children by label, and the Secrets that it names. Reading only."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from forge_stack.model import ObservabilityStack

from forge_operator.api import Api
from forge_operator.names import CHILDREN, SERVICE_MONITOR, STACK, Key, Manifest, controller_uid, selector

ChildKey = tuple[str, str]
"""Kind and name."""


@dataclass(frozen=True)
class World:
    """What was read. `children` are those that the stack controls; `jobs` also those of its CronJobs."""

    now: datetime
    children: Mapping[ChildKey, Manifest]
    jobs: tuple[Manifest, ...] = ()
    pods: tuple[Manifest, ...] = ()
    secrets: Mapping[str, Manifest] = field(default_factory=dict)

    def get(self, kind: str, name: str) -> Manifest | None:
        """A child."""
        return self.children.get((kind, name))

    def pods_of(self, owner: Manifest) -> list[Manifest]:
        """The pods that an object controls."""
        uid = owner["metadata"]["uid"]
        return [pod for pod in self.pods if controller_uid(pod) == uid]


async def read_world(api: Api, stack: ObservabilityStack, *, service_monitors: bool) -> World:
    """Read everything that one reconcile of the stack needs, in parallel."""
    namespace, name = stack.metadata.namespace, stack.metadata.name
    kinds = [*CHILDREN.values(), *([SERVICE_MONITOR] if service_monitors else [])]
    wanted = sorted(named_secrets(stack))
    secret = CHILDREN["Secret"]
    listed, secrets = await asyncio.gather(
        asyncio.gather(*(api.list(kind, namespace, selector(name)) for kind in kinds)),
        asyncio.gather(*(api.get(secret, namespace, name) for name in wanted)),
    )
    return sort(
        stack.metadata.uid,
        [item for items in listed for item in items],
        {name: found for name, found in zip(wanted, secrets, strict=True) if found is not None},
        datetime.now(UTC),
    )


def sort(uid: str, items: Iterable[Manifest], secrets: Mapping[str, Manifest], now: datetime) -> World:
    """Which of the labelled objects belong to the stack of that uid, by controller and not by label alone."""
    found = list(items)
    ours = {
        (item["kind"], item["metadata"]["name"]): item
        for item in found
        if item["kind"] != "Pod" and controller_uid(item) == uid
    }
    cron_jobs = {item["metadata"]["uid"] for (kind, _), item in ours.items() if kind == "CronJob"}
    jobs = tuple(item for item in found if item["kind"] == "Job" and controller_uid(item) in {uid, *cron_jobs})
    pods = tuple(item for item in found if item["kind"] == "Pod")
    return World(now=now, children=ours, jobs=jobs, pods=pods, secrets=secrets)


def named_secrets(stack: ObservabilityStack) -> set[str]:
    """The Secrets that the stack names and somebody else makes."""
    spec = stack.spec
    names = {source.secret_name for source in spec.sources if source.secret_name}
    if spec.store.external is not None:
        names.add(spec.store.external.dsn_secret_ref.name)
    if spec.api.auth.mode == "Token" and spec.api.auth.token_secret_ref is not None:
        names.add(spec.api.auth.token_secret_ref.name)
    return names


def secret_value(secret: Manifest | None, key: str) -> str | None:
    """One value of a Secret; None when the Secret or the key is missing."""
    value = (secret or {}).get("data", {}).get(key)
    return b64decode(value).decode(errors="replace") if value is not None else None


def fingerprint(*values: str | None) -> str:
    """Stands for secret values in an annotation: 32 bits show that they changed, but let nobody confirm a guess."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(b"\0" if value is None else b"\1" + value.encode() + b"\0")
    return digest.hexdigest()[:8]


def key_of(manifest: Manifest) -> Key:
    """The key of a stack's manifest."""
    return manifest["metadata"]["namespace"], manifest["metadata"]["name"]


async def read_stack(api: Api, key: Key) -> Manifest | None:
    """The stack's manifest; None when it is gone."""
    return await api.get(STACK, *key)
