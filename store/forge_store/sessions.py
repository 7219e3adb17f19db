"""Sessions: a connection kept between requests, with its settings, temporary tables and current database.

Settings and database in a request's URL hold for that request only, as on a server, so a session remembers what they
replaced. Definitions: ClickHouse's documentation, "HTTP interface", session_id, session_timeout, session_check.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from forge_store.engine import Connection
from forge_store.errors import StoreError
from forge_store.users import User

DEFAULT_TIMEOUT = 60
MAX_TIMEOUT = 3600


@dataclass
class Session:
    """One session of one user; `busy` while a request runs in it."""

    user: User
    connection: Connection | None = None
    busy: bool = False
    timeout: float = DEFAULT_TIMEOUT
    expires: float = 0.0
    database: str = "default"
    _current: str = "default"
    _replaced: dict[str, str] = field(default_factory=dict)

    def enter(self, connection: Connection, database: str | None, settings: Mapping[str, str]) -> None:
        """Makes a request's database and settings hold, and undoes those of the request before."""
        wanted = database or self.database
        if wanted != self._current:
            connection.use(wanted)
            self._current = wanted
        undone = {name: value for name, value in self._replaced.items() if name not in settings}
        connection.set(undone)
        for name in undone:
            del self._replaced[name]
        fresh = [name for name in settings if name not in self._replaced and not name.startswith("param_")]
        self._replaced |= connection.values_of(fresh)
        connection.set(settings)

    def used(self, database: str) -> None:
        """Notes that the statement USE changed the session's database."""
        self.database = self._current = database


class Sessions:
    """The sessions of every user. Called from the event loop only."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sessions: dict[tuple[str, str], Session] = {}

    def take(self, user: User, name: str, timeout: float, *, must_exist: bool) -> Session:
        """The session, locked for one request: StoreError 373 when busy, 372 when it should exist and does not."""
        self.expire()
        if not 0 < timeout <= MAX_TIMEOUT:
            raise StoreError(374, "INVALID_SESSION_TIMEOUT", f"session_timeout: 1 to {MAX_TIMEOUT} seconds are wanted")
        key = user.name, name
        session = self._sessions.get(key)
        if session and not session.busy and session.user != user:
            # The user's rights changed: what the session was allowed no longer holds.
            self._close(key)
            session = None
        if session is None:
            if must_exist:
                raise StoreError(372, "SESSION_NOT_FOUND", f"Session {name} not found")
            session = self._sessions[key] = Session(user)
        elif session.busy:
            raise StoreError(373, "SESSION_IS_LOCKED", f"Session {name} is locked by a concurrent client")
        session.busy, session.timeout = True, timeout
        return session

    def give_back(self, session: Session) -> None:
        """Ends a request in a session."""
        session.busy = False
        session.expires = self._clock() + session.timeout

    def expire(self) -> None:
        """Closes the sessions that nobody used in time."""
        now = self._clock()
        for key in [key for key, session in self._sessions.items() if not session.busy and session.expires < now]:
            self._close(key)

    def close(self) -> None:
        """Closes all sessions."""
        for key in list(self._sessions):
            self._close(key)

    def _close(self, key: tuple[str, str]) -> None:
        connection = self._sessions.pop(key).connection
        if connection:
            connection.close()

    def __len__(self) -> int:
        return len(self._sessions)
