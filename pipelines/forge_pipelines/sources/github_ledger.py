"""What the state of a GitHub source keeps: by number of the repository, by listing, how far it is loaded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from forge_pipelines.tables import iso, moment

FORM = 2
"""Raised when what is kept changes its meaning: all is loaded anew then."""


class Ledger:
    """The state of a source while a load moves it on. Every `state()` stays as it was given."""

    def __init__(self, kept: Mapping[str, Any], since: datetime | None) -> None:
        """Go on from a state; from nothing, when it is of another form or another beginning."""
        self.since = iso(since) if since else None
        known = kept if kept.get("form") == FORM and kept.get("since") == self.since else {}
        # A repository that is no longer selected keeps its marks: chosen again, it goes on where it was.
        self.repositories: dict[str, dict[str, Any]] = dict(known.get("repositories") or {})
        self.swept_at: datetime | None = moment(known.get("swept"))
        self.done: tuple[int, ...] = tuple(known.get("sweeping") or ())

    def of(self, repository: int, name: str) -> Any:
        """What is kept under a name of a repository; None when there is nothing."""
        return self.repositories.get(str(repository), {}).get(name)

    def put(self, repository: int, name: str, value: Any) -> None:
        """Keep something of a repository. Nothing that was given out changes."""
        key = str(repository)
        self.repositories[key] = {**self.repositories.get(key, {}), name: value}

    def renew(self, repository: int, kept: Mapping[str, Any]) -> None:
        """Have all of a repository read once more, but for what is `kept`."""
        self.repositories[str(repository)] = dict(kept)

    def state(self) -> dict[str, Any]:
        """All of it, to be stored."""
        kept: dict[str, Any] = {"form": FORM, "since": self.since, "repositories": dict(self.repositories)}
        if self.swept_at:
            kept["swept"] = iso(self.swept_at)
        return kept | ({"sweeping": list(self.done)} if self.done else {})

    def covered(self, repositories: Collection[int]) -> datetime | None:
        """The newest update that is loaded, once the pull requests of every repository were walked to their end."""
        marks = [self.of(number, "pulls") for number in repositories]
        if any(mark is None or mark.get("after") for mark in marks):
            return None
        return max((at for at in (moment(mark.get("upto")) for mark in marks) if at), default=None)

    # The sweep of ids

    def sweep_is_due(self, every: timedelta, now: datetime) -> bool:
        """Whether ids are to be compared now. A source that was never swept was just loaded as a whole."""
        if not every:
            return False
        if self.swept_at is None:
            self.swept_at = now
            return False
        return bool(self.done) or now - self.swept_at >= every

    def is_swept(self, repository: int) -> bool:
        """Whether an unfinished sweep has been there."""
        return repository in self.done

    def swept(self, repository: int) -> None:
        """A sweep has been there."""
        self.done = (*self.done, repository)

    def sweep_ends(self, now: datetime) -> None:
        """All repositories were swept."""
        self.swept_at, self.done = now, ()
