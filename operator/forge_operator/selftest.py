"""What `helm test` runs beside an installed operator: its rights suffice to read stacks, and somebody leads."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta

from forge_operator.api import Api, ApiError
from forge_operator.leader import DURATION, lease_name
from forge_operator.names import STACK
from forge_operator.observe import moment


async def check() -> list[str]:
    """What is wrong; empty when all is well."""
    namespace = os.environ.get("FORGE_OPERATOR_NAMESPACE", "default")
    watched = [each for each in os.environ.get("FORGE_WATCH_NAMESPACES", "").split(",") if each] or [""]
    name = lease_name(os.environ.get("FORGE_OPERATOR_CLASS", ""))
    async with Api.connect(10) as api:
        try:
            for watched_namespace in watched:
                await api.all(STACK, watched_namespace)
            lease = await api.request("GET", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}")
        except ApiError as error:
            return [str(error)]
    spec = lease.get("spec", {})
    if not spec.get("holderIdentity"):
        return [f"nobody holds the Lease {name}; is the operator running?"]
    if datetime.now(UTC) - moment(spec["renewTime"]) > timedelta(seconds=2 * DURATION):
        return [f"{spec['holderIdentity']} renewed the Lease {name} last at {spec['renewTime']}"]
    return []


if __name__ == "__main__":
    problems = asyncio.run(check())
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    sys.exit(bool(problems))
