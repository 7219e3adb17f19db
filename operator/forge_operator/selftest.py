"""What `helm test` runs beside an installed operator: its rights suffice to read stacks, and somebody leads."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta

from forge_operator.api import Api, ApiError
from forge_operator.leader import DURATION, LEASE
from forge_operator.names import STACK
from forge_operator.observe import moment


async def check() -> list[str]:
    """What is wrong; empty when all is well."""
    namespace = os.environ.get("FORGE_OPERATOR_NAMESPACE", "default")
    watched = [name for name in os.environ.get("FORGE_WATCH_NAMESPACES", "").split(",") if name] or [""]
    async with Api.connect(10) as api:
        try:
            for name in watched:
                await api.list(STACK, name)
            lease = await api.request("GET", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{LEASE}")
        except ApiError as error:
            return [str(error)]
    spec = lease.get("spec", {})
    if not spec.get("holderIdentity"):
        return [f"nobody holds the Lease {LEASE}; is the operator running?"]
    if datetime.now(UTC) - moment(spec["renewTime"]) > timedelta(seconds=2 * DURATION):
        return [f"{spec['holderIdentity']} renewed the Lease {LEASE} last at {spec['renewTime']}"]
    return []


if __name__ == "__main__":
    problems = asyncio.run(check())
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    sys.exit(bool(problems))
