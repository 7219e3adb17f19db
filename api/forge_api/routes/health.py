"""Is the process alive, is the API of use."""

from __future__ import annotations

from fastapi import APIRouter

from forge_api.models import Health
from forge_api.problems import documented
from forge_api.routes.shared import GoldStore

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="The process is alive")
async def healthz() -> Health:
    """Asks nothing of the store: a store that is away is no reason to restart the API."""
    return Health(status="ok")


@router.get("/readyz", summary="The store answers and gold is built", responses=documented(503, 504))
def readyz(gold: GoldStore) -> Health:
    """Ready when the store answers and `gold.tickets` is there; else 503 with what is missing."""
    gold.ready()
    return Health(status="ok")
