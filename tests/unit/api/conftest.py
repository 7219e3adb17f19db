"""The application without a network: requests go straight into it."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from fastapi import FastAPI

DEAD_STORE = "http://reader:hunter2@127.0.0.1:9"
"""A store that is away: nobody listens on the discard port."""


@pytest.fixture
def client_of() -> Callable[..., httpx.AsyncClient]:
    def make(app: FastAPI, token: str | None = None) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers)

    return make


@pytest.fixture
def dead_store() -> str:
    return DEAD_STORE
