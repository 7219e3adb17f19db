"""What a serving process is told: credentials, limits, the clock."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta


@dataclass(slots=True)
class Credentials:
    """The demo's secrets: fixed and public, for a world that is not real; FORGE_DEMO_* overrides them."""

    langfuse_public_key: str = "pk-lf-demo"
    langfuse_secret_key: str = "sk-lf-demo"  # noqa: S105
    github_token: str = "ghp_demo"  # noqa: S105
    jira_email: str = "observer@acme-robotics.example"
    jira_token: str = "jira-demo"  # noqa: S105

    @classmethod
    def from_environment(cls) -> Credentials:
        """Read FORGE_DEMO_LANGFUSE_PUBLIC_KEY, FORGE_DEMO_GITHUB_TOKEN, ..."""
        found = {name: os.environ.get(f"FORGE_DEMO_{name.upper()}") for name in cls.__dataclass_fields__}
        return cls(**{name: value for name, value in found.items() if value})


@dataclass(slots=True)
class Settings:
    """How the APIs behave.

    rate_limits: requests (GitHub GraphQL: points) an hour, by API; none by default.
    jira_index_seconds: how late Jira's search knows of a change.

    github_requests_per_minute and github_concurrency are its secondary limits (none by default).
    """

    credentials: Credentials = field(default_factory=Credentials)
    langfuse_v2: bool = True
    langfuse_legacy: bool = True
    langfuse_scores_v2: bool = True
    """Without it the older pages have but the first list of scores."""
    langfuse_plan: str | None = None
    """hobby, core or pro: Langfuse Cloud's limits a minute."""
    langfuse_copies: int = 1
    """Each observation is there so often (v2 alone, the truth knows the first), for benchmarks."""
    short_pages: bool = True
    jira_zone: str = "Europe/Berlin"
    jira_index_seconds: float = 0.0
    rate_limits: dict[str, int] = field(default_factory=dict)
    latency_seconds: float = 0.0
    github_requests_per_minute: int | None = None
    github_concurrency: int | None = None
    github_retry_after_seconds: int = 60
    github_token_seconds: int = 3600
    github_scopes: str = "repo, read:org"


@dataclass(slots=True)
class Clock:
    """The world's time: `begin` when the process started, then `speed` seconds a second, plus what was advanced."""

    begin: datetime
    speed: float = 0.0
    _started: float = field(default_factory=time.monotonic)

    def now(self) -> datetime:
        """The world's moment."""
        return self.begin + timedelta(seconds=(time.monotonic() - self._started) * self.speed)

    def advance(self, by: timedelta) -> None:
        """Jump forward."""
        self.begin += by


def read_moment(text: str, *, floor_hour: bool) -> datetime:
    """RFC 3339, `now`, or `now-3d` / `now-2h` / `now-30m`. Raises ValueError that says what is expected."""
    if text.startswith("now"):
        units = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
        now = datetime.now(UTC)
        if floor_hour:
            now = now.replace(minute=0, second=0, microsecond=0)
        rest = text[3:]
        if not rest:
            return now
        if rest[0] == "-" and rest[-1] in units and rest[1:-1].isdigit():
            return now - timedelta(**{units[rest[-1]]: int(rest[1:-1])})
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = datetime.min
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    raise ValueError(f"{text!r} is no moment; write RFC 3339 with a zone, now, or now-3d (units d, h, m, s)")
