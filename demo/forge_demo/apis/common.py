"""What the APIs share: the world at this moment, answers as JSON, budgets, and the faults that stand."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from forge_demo.faults import Faults
from forge_demo.settings import Clock, Settings
from forge_demo.state import State
from forge_demo.world import World

Json = dict[str, Any]


@dataclass(slots=True)
class Live:
    """The world while it is served: every request sees it as of the clock's now."""

    world: World
    clock: Clock
    settings: Settings = field(default_factory=Settings)
    budgets: dict[str, Budget] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    skew_seconds: float = 0.0
    prometheus_url: str | None = None
    github_secret: Callable[[], dict[str, Any]] | None = None
    requests: dict[str, int] = field(default_factory=dict)
    after_advance: Callable[[], Awaitable[None]] | None = None

    async def settle(self) -> None:
        """Let what follows the world (Prometheus) catch up."""
        if self.after_advance is not None:
            await self.after_advance()

    def state(self) -> State:
        """The world's state now."""
        now = self.clock.now()
        if now > self.world.now:
            self.world.advance(now)
        return self.world.state

    def budget(self, name: str, limit: int | None = None, seconds: int = 3600) -> Budget:
        """The rate limit of an API; without one in the settings, this one."""
        limit = self.settings.rate_limits.get(name, limit)
        return self.budgets.setdefault(name, Budget(limit, seconds=seconds, resets_at=time.time() + seconds))


@dataclass(slots=True)
class Budget:
    """A fixed window of `seconds`; no limit when `limit` is None."""

    limit: int | None
    used: int = 0
    resets_at: float = field(default_factory=lambda: time.time() + 3600)
    seconds: int = 3600

    def take(self, cost: int) -> bool:
        """Spend; False when there is not that much left."""
        if time.time() >= self.resets_at:
            self.used, self.resets_at = 0, time.time() + self.seconds
        if self.limit is not None and self.used + cost > self.limit:
            return False
        self.used += cost
        return True

    @property
    def wait_seconds(self) -> int:
        """Until the window ends."""
        return max(1, int(self.resets_at - time.time()) + 1)


def answer(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON, UTF-8, compact."""
    body = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(body, status, headers, media_type="application/json; charset=utf-8")


def basic_auth(request: Request) -> tuple[str, str] | None:
    """User and password of an Authorization header; None when it holds no basic credentials."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(value).decode().partition(":")
    except ValueError:
        return None
    return user, password


def whole_number(value: str | None, default: int) -> int | None:
    """A query parameter as a number; None when it is none."""
    if value is None or value == "":
        return default
    return int(value) if re.fullmatch(r"-?\d{1,9}", value) else None


def moment(text: str) -> datetime | None:
    """An ISO 8601 time in UTC; None when it is none. A time without a zone is UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def iso_millis(at: datetime | None) -> str | None:
    """2025-01-02T03:04:05.678Z."""
    return None if at is None else f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def iso_seconds(at: datetime | None) -> str | None:
    """2025-01-02T03:04:05Z."""
    return None if at is None else f"{at:%Y-%m-%dT%H:%M:%SZ}"


Handler = Callable[[Request], Awaitable[Response]]
