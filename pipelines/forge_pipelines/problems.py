"""What can go wrong in a load, told to people: a reason from the contract and a message with the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from forge_stack.wire import Reason


class LoadError(Exception):
    """A load cannot go on; `reason` is one of the contract's reasons, the message says what to do."""

    def __init__(self, reason: Reason, message: str) -> None:
        """Remember the reason beside the message."""
        super().__init__(message)
        self.reason: Reason = reason
        self.message = message


class NotTheApiError(LoadError):
    """What answers is no API at all, however it is asked: a login page, a proxy's notice."""


class Stopped(Exception):  # noqa: N818 - no error: what was read until here is complete
    """A load must end early, at the last clean cursor: a signal, or a rate limit that outlasts the load's patience."""

    def __init__(self, message: str) -> None:
        """Remember why."""
        super().__init__(message)
        self.message = message


class RateLimited(Stopped):
    """The source asks for more patience than a load has."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and what brought it about, outermost first: libraries keep causes in several places."""
    seen: set[int] = set()
    queue: list[Any] = [error]
    while queue:
        current = queue.pop(0)
        if isinstance(current, BaseException) and id(current) not in seen:
            seen.add(id(current))
            yield current
            kept = (getattr(current, name, None) for name in ("__cause__", "__context__", "reason", "exception"))
            queue += [*kept, *current.args]
