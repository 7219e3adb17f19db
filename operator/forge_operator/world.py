"""The world as one reconcile sees it: the stack's children and the Secrets that it names, as they are known."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from forge_stack.model import ObservabilityStack

from forge_operator.cache import ChildKey, Entry
from forge_operator.credentials import Credentials
from forge_operator.names import Key, Manifest, controller_uid, store_secret, token_secret


@dataclass(frozen=True)
class World:
    """What is known. `children` are those that the stack controls; `jobs` also those of its CronJobs."""

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


def see(uid: str, entries: Mapping[ChildKey, Entry], secrets: Mapping[str, Manifest], now: datetime) -> World:
    """Which of the labelled objects belong to the stack of that uid, by controller and not by label alone."""
    found = [entry.facts() for entry in entries.values()]
    ours = {
        (item["kind"], item["metadata"]["name"]): item
        for item in found
        if item["kind"] != "Pod" and controller_uid(item) == uid
    }
    cron_jobs = {item["metadata"]["uid"] for (kind, _), item in ours.items() if kind == "CronJob"}
    jobs = tuple(item for item in found if item["kind"] == "Job" and controller_uid(item) in {uid, *cron_jobs})
    pods = tuple(item for item in found if item["kind"] == "Pod")
    return World(now=now, children=ours, jobs=jobs, pods=pods, secrets=secrets)


async def read_secrets(credentials: Credentials, stack: ObservabilityStack, key: Key) -> dict[str, Manifest]:
    """The Secrets that the stack names, and those that were made for it, by name; without those that do not exist."""
    names = sorted(named_secrets(stack) | made_secrets(stack))
    found = await asyncio.gather(*(credentials.read(key[0], name, key) for name in names))
    return {name: secret for name, secret in zip(names, found, strict=True) if secret is not None}


def named_secrets(stack: ObservabilityStack) -> set[str]:
    """The Secrets that the stack names and somebody else makes."""
    spec = stack.spec
    names = {source.secret_name for source in spec.sources if source.secret_name}
    if spec.store.external is not None:
        names.add(spec.store.external.dsn_secret_ref.name)
    if spec.api.auth.mode == "Token" and spec.api.auth.token_secret_ref is not None:
        names.add(spec.api.auth.token_secret_ref.name)
    return names


def made_secrets(stack: ObservabilityStack) -> set[str]:
    """The Secrets that the operator makes for the stack."""
    names = set()
    if stack.spec.store.managed is not None:
        names.add(store_secret(stack.metadata.name))
    if stack.spec.api.auth.mode == "Token" and stack.spec.api.auth.token_secret_ref is None:
        names.add(token_secret(stack.metadata.name))
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
