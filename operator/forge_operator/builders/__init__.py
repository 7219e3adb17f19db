"""Pure builders: from a stack and what was read of the world to the manifests of its children."""

from __future__ import annotations

from forge_operator.builders import api, loads, monitoring, network, store, transform
from forge_operator.builders.common import Inputs, service_account
from forge_operator.names import Manifest


def desired_children(inputs: Inputs) -> list[Manifest]:
    """Every child that is kept in shape by server-side apply, in the order in which it is applied.

    Jobs and made Secrets are not among them: they are created once and never changed.
    """
    return [
        service_account(inputs),
        *network.policies(inputs),
        *store.children(inputs),
        *loads.cron_jobs(inputs),
        *api.children(inputs),
        *monitoring.children(inputs),
    ]


__all__ = ["Inputs", "api", "desired_children", "loads", "store", "transform"]
