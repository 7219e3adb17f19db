"""NetworkPolicies: who may connect to a stack's pods. What loads and transforms reach out to is left open."""

from __future__ import annotations

from typing import Any

from forge_operator.builders import api, loads, store, transform
from forge_operator.builders.common import Inputs, child, pod_selector
from forge_operator.names import CHILDREN, CLIENT_LABEL, COMPONENT_LABEL, NAME_LABEL, STACK_LABEL, Manifest


def policies(inputs: Inputs) -> list[Manifest]:
    """The policies; none when the stack wants none."""
    if not inputs.stack.spec.network_policy.enabled:
        return []
    jobs = {
        "matchLabels": {STACK_LABEL: inputs.name},
        "matchExpressions": [
            {"key": COMPONENT_LABEL, "operator": "In", "values": [loads.COMPONENT, transform.COMPONENT]}
        ],
    }
    clients = [
        {
            "podSelector": {
                "matchLabels": {STACK_LABEL: inputs.name},
                "matchExpressions": [
                    {
                        "key": COMPONENT_LABEL,
                        "operator": "In",
                        "values": [api.COMPONENT, loads.COMPONENT, transform.COMPONENT],
                    }
                ],
            }
        },
        {"podSelector": {"matchLabels": {CLIENT_LABEL: inputs.name}}},
        # To the operator, this store may be another stack's external one, and it asks those whether they answer.
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": inputs.settings.namespace}},
            "podSelector": {"matchLabels": {NAME_LABEL: "forge-observability", COMPONENT_LABEL: "operator"}},
        },
    ]
    result = [
        _policy(inputs, "jobs", jobs, []),
        _policy(inputs, "api", {"matchLabels": pod_selector(inputs, api.COMPONENT)}, [{"ports": [_port(api.PORT)]}]),
    ]
    if inputs.stack.spec.store.managed is not None:
        selected = {"matchLabels": pod_selector(inputs, "store")}
        result.append(
            _policy(inputs, "store", selected, [{"from": clients, "ports": [_port(store.HTTP_PORT)]}]),
        )
    return result


def _policy(inputs: Inputs, name: str, selected: dict[str, Any], ingress: list[dict[str, Any]]) -> Manifest:
    return child(
        inputs,
        CHILDREN["NetworkPolicy"],
        f"{inputs.name}-{name}",
        "network",
        # No empty list: the API server drops it, and applying what it drops counts as a change each time.
        spec={"podSelector": selected, "policyTypes": ["Ingress"], **({"ingress": ingress} if ingress else {})},
    )


def _port(number: int) -> dict[str, Any]:
    return {"port": number, "protocol": "TCP"}
