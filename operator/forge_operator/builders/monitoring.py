"""Objects for the Prometheus operator, where the cluster knows its kinds."""

from __future__ import annotations

from forge_operator.builders.api import COMPONENT
from forge_operator.builders.common import Inputs, child, pod_selector
from forge_operator.names import SERVICE_MONITOR, Manifest, api_name


def children(inputs: Inputs) -> list[Manifest]:
    """The API's ServiceMonitor, when the stack asks for it and the cluster has the kind."""
    wanted = inputs.stack.spec.monitoring
    if not wanted.service_monitor or not inputs.service_monitors:
        return []
    return [
        child(
            inputs,
            SERVICE_MONITOR,
            api_name(inputs.name),
            "monitoring",
            wanted.labels,
            spec={
                "selector": {"matchLabels": pod_selector(inputs, COMPONENT)},
                "endpoints": [{"port": "http", "path": "/metrics", "interval": "30s"}],
            },
        )
    ]
