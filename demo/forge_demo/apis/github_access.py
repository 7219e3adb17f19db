"""Who may ask GitHub, and how often: tokens, a GitHub App and its installation, primary and secondary limits."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.requests import Request
from starlette.responses import Response

from forge_demo.apis.common import Budget, Json, Live, answer, iso_seconds
from forge_demo.github_places import App

DOCS = "https://docs.github.com/rest"
APP = App(424_242, "forge-observability", "Forge Observability")
INSTALLATION = 51_000_001
_LONGEST_JWT = 600 + 60
"""Seconds that a JSON Web Token of an App may live, and what clocks may differ."""


def refusal(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    """An error as GitHub words one."""
    return answer({"message": message, "documentation_url": DOCS, "status": str(status)}, status, headers)


class AppKey:
    """The private key of the world's GitHub App, made when it is first asked for: there is none to leak."""

    @cached_property
    def _key(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @cached_property
    def private(self) -> str:
        """As PEM, for a Secret."""
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
        return self._key.private_bytes(encoding, form, serialization.NoEncryption()).decode()

    @property
    def public(self) -> rsa.RSAPublicKey:
        """What signatures are checked with."""
        return self._key.public_key()


class Access:
    """Checks each request's credentials and pace."""

    def __init__(self, live: Live) -> None:
        self.live, self.key = live, AppKey()
        self._tokens: dict[str, float] = {}
        self._minute: deque[float] = deque()
        self._active = 0

    def refused(self, request: Request) -> Response | None:
        """Why a request may not ask; None when it may."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if not token:
            return refusal(401, "Requires authentication")
        if scheme.lower() not in ("bearer", "token"):
            return refusal(401, "Bad credentials")
        if token == self.live.settings.credentials.github_token or self._tokens.get(token, 0.0) > time.time():
            return self._too_fast()
        return refusal(401, "Bad credentials")

    def _too_fast(self) -> Response | None:
        """The secondary limits: requests a minute, and at once."""
        settings, now = self.live.settings, time.monotonic()
        self._minute.append(now)
        while self._minute[0] < now - 60:
            self._minute.popleft()
        per_minute, at_once = settings.github_requests_per_minute, settings.github_concurrency
        if (per_minute and len(self._minute) > per_minute) or (at_once and self._active > at_once):
            text = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
            return refusal(403, text, {"Retry-After": str(settings.github_retry_after_seconds)})
        return None

    @contextmanager
    def counted(self) -> Iterator[None]:
        """One of the requests that are answered at once."""
        self._active += 1
        try:
            yield
        finally:
            self._active -= 1

    async def breathe(self) -> None:
        """With a limit of requests at once, let them meet."""
        if self.live.settings.github_concurrency:
            await asyncio.sleep(0.02)

    def headers(self, request: Request) -> dict[str, str]:
        """What every answer to a user's token carries."""
        token = request.headers.get("authorization", "").partition(" ")[2]
        if token in self._tokens:
            return {}
        return {"X-OAuth-Scopes": self.live.settings.github_scopes, "X-Accepted-OAuth-Scopes": "repo"}

    # The App

    def _app_refused(self, request: Request) -> Response | None:
        token = request.headers.get("authorization", "").partition(" ")[2]
        try:
            claims: Json = jwt.decode(token, self.key.public, algorithms=["RS256"], leeway=30)
        except jwt.ExpiredSignatureError:
            return refusal(401, "'Expiration time' claim ('exp') must be a numeric value representing a future time")
        except jwt.InvalidTokenError:
            return refusal(401, "A JSON web token could not be decoded")
        if str(claims.get("iss")) != str(APP.id):
            return refusal(404, "Integration not found")
        if int(claims.get("exp", 0)) - time.time() > _LONGEST_JWT:
            return refusal(401, "'Expiration time' claim ('exp') is too far in the future")
        return None

    async def app(self, request: Request) -> Response:
        """The App itself."""
        from forge_demo.apis.github_rest_runs import app

        return self._app_refused(request) or answer(app(APP, str(request.base_url).rstrip("/")))

    async def token(self, request: Request) -> Response:
        """A token of the installation, which ends."""
        if (refused := self._app_refused(request)) is not None:
            return refused
        if request.path_params["id"] != INSTALLATION:
            return refusal(404, "Not Found")
        token, ends = f"ghs_{secrets.token_hex(18)}", time.time() + self.live.settings.github_token_seconds
        self._tokens[token] = ends
        rights = {"metadata": "read", "pull_requests": "read", "checks": "read", "actions": "read", "issues": "read"}
        body = {"token": token, "expires_at": iso_seconds(datetime.fromtimestamp(ends, UTC)), "permissions": rights}
        return answer({**body, "repository_selection": "all"}, 201)

    def secret(self) -> dict[str, Any]:
        """What a Secret of the App's user holds."""
        return {"appId": str(APP.id), "installationId": str(INSTALLATION), "privateKey": self.key.private}


def limits(budget: Budget, resource: str) -> dict[str, str]:
    """The headers of a budget. Without a limit it is always full."""
    limit = budget.limit or 5000
    used = budget.used if budget.limit else 0
    return {
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": str(max(0, limit - used)),
        "X-RateLimit-Used": str(used),
        "X-RateLimit-Reset": str(int(budget.resets_at)),
        "X-RateLimit-Resource": resource,
    }
