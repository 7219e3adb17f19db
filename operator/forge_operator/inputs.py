"""What the builders need of the world. Pure."""

from __future__ import annotations

from dataclasses import replace

from forge_stack.model import ObservabilityStack
from kubernetes.utils.quantity import parse_quantity

from forge_operator import builders
from forge_operator.builders import Inputs
from forge_operator.names import store_name, store_secret
from forge_operator.settings import Settings
from forge_operator.world import World, fingerprint, secret_value


def build_inputs(
    stack: ObservabilityStack, world: World, settings: Settings, *, held: frozenset[str], service_monitors: bool
) -> Inputs:
    """The stack, the settings, and what of Secrets and of the live store the children depend on."""
    name, spec = stack.metadata.name, stack.spec
    claim_templates = None
    dsn_key, reader_key, store_hash = "dsn", "reader-dsn", ""
    if spec.store.external is None:
        secret_name = store_secret(name)
        secret = world.secrets.get(secret_name)
        store_hash = fingerprint(*(secret_value(secret, key) for key in ("writer-sha256", "reader-sha256")))
        live = world.get("StatefulSet", store_name(name))
        if live is not None:
            claim_templates = live["spec"]["volumeClaimTemplates"]
    else:
        secret_name, dsn_key = spec.store.external.dsn_secret_ref.name, spec.store.external.dsn_secret_ref.key
        secret = world.secrets.get(secret_name)
        if secret_value(secret, reader_key) is None:
            reader_key = dsn_key
    inputs = Inputs(
        stack=stack,
        settings=settings,
        store_secret=secret_name,
        dsn_key=dsn_key,
        reader_key=reader_key,
        store_hash=store_hash,
        held=held,
        claim_templates=claim_templates,
        service_monitors=service_monitors,
    )
    token = world.secrets.get(builders.api.token_name(inputs))
    api_hash = fingerprint(secret_value(secret, reader_key), secret_value(token, "token"))
    return replace(inputs, api_hash=api_hash)


def storage_unchanged(inputs: Inputs) -> bool:
    """Whether the stack asks for another volume than the one that the live StatefulSet makes."""
    managed = inputs.stack.spec.store.managed
    if managed is None or inputs.claim_templates is None:
        return False
    wanted = builders.store.claim_templates(replace(inputs, claim_templates=None), managed)[0]["spec"]
    live = inputs.claim_templates[0]["spec"]
    same_class = wanted.get("storageClassName") in (None, live.get("storageClassName"))
    # The API server writes 1024Mi as 1Gi.
    sizes = {parse_quantity(claim["resources"]["requests"]["storage"]) for claim in (wanted, live)}  # type: ignore[no-untyped-call]
    return len(sizes) > 1 or not same_class
