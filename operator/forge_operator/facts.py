"""What the world says of the store, the API and refused children, as facts for the status. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from forge_stack.status import Fact

from forge_operator import builders
from forge_operator.apply import Refusal
from forge_operator.builders import Inputs
from forge_operator.names import COMPONENT_LABEL, api_name, label, store_name
from forge_operator.observe import deployment_fact, stateful_set_fact
from forge_operator.world import World, secret_value


def managed_store_fact(world: World, inputs: Inputs, replicas: int) -> Fact:
    """Whether the store that the operator runs answers."""
    secret = world.secrets.get(inputs.store_secret)
    missing = [key for key in builders.store.SECRET_KEYS if secret_value(secret, key) is None]
    if missing:
        told = f"the Secret {inputs.store_secret} lacks {', '.join(missing)}; restore it, or delete it: "
        return Fact(False, "SecretKeyMissing", told + "a new one is made and the store restarts with it")
    live = world.get("StatefulSet", store_name(inputs.name))
    return stateful_set_fact(live, world.pods_of(live) if live else [], replicas)


def external_dsn(world: World, inputs: Inputs) -> str | Fact:
    """The DSN of a store that somebody else runs, or why it is not known."""
    secret = world.secrets.get(inputs.store_secret)
    if secret is None:
        told = f"the Secret {inputs.store_secret} does not exist; make it with the key {inputs.dsn_key}"
        return Fact(False, "SecretMissing", told)
    dsn = secret_value(secret, inputs.dsn_key)
    if dsn is None:
        told = f"the Secret {inputs.store_secret} has no key {inputs.dsn_key}; it needs http://user:password@host:8123"
        return Fact(False, "SecretKeyMissing", told)
    return dsn


def api_fact(world: World, inputs: Inputs) -> Fact:
    """Whether the API answers."""
    wanted = inputs.stack.spec.api
    ref = wanted.auth.token_secret_ref
    if wanted.auth.mode == "Token" and ref is not None:
        if ref.name not in world.secrets:
            return Fact(False, "SecretMissing", f"the Secret {ref.name} does not exist; make it with the key token")
        if secret_value(world.secrets[ref.name], "token") is None:
            return Fact(False, "SecretKeyMissing", f"the Secret {ref.name} has no key token")
    live = world.get("Deployment", api_name(inputs.name))
    # The Deployment's pods are its ReplicaSet's, so that they are found by their component.
    pods = [pod for pod in world.pods if label(pod, COMPONENT_LABEL) == builders.api.COMPONENT]
    # Under an autoscaler the live object says how many are wanted.
    replicas = live["spec"]["replicas"] if live and wanted.autoscaled and wanted.replicas else wanted.replicas
    return deployment_fact(live, pods, replicas)


def refused_fact(refusals: Sequence[Refusal], component: str = "") -> Fact | None:
    """What the refused children of a component mean for it; None when none was refused."""
    for refusal in refusals:
        if not component or label(refusal.manifest, COMPONENT_LABEL) == component:
            kind, name = refusal.manifest["kind"], refusal.manifest["metadata"]["name"]
            return Fact(False, "ApplyRefused", f"the API server refused {kind} {name}: {refusal.message}")
    return None


def refused_conditions(refusals: Sequence[Refusal]) -> dict[str, Fact]:
    """The conditions that refused children make false, of those that are not a source's, the store's or the API's."""
    said_elsewhere = {"store", builders.api.COMPONENT, builders.loads.COMPONENT}
    found: dict[str, Fact] = {}
    for refusal in refusals:
        component = label(refusal.manifest, COMPONENT_LABEL)
        fact = refused_fact([refusal])
        if component not in said_elsewhere and fact is not None:
            found.setdefault("Transformed" if component == builders.transform.COMPONENT else "SpecAccepted", fact)
    return found
