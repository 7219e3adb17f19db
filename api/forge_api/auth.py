"""Who may ask: bearer tokens from a file that may change at any time."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from fastapi import Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

log = logging.getLogger(__name__)


class WatchedFile:
    """The text of a file, read again when the file changes (a mounted Secret is swapped by a symbolic link)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._text = ""

    def read(self) -> str:
        """The current text; one stat when nothing changed. Raises OSError when the file is away."""
        stat = self.path.stat()
        now = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if now != self._seen:
            self._text = self.path.read_text(encoding="utf-8")
            self._seen = now
        return self._text


class Tokens:
    """The tokens of a file, one a line; blank lines and lines that begin with `#` are none."""

    def __init__(self, path: Path) -> None:
        self._file = WatchedFile(path)

    def accepts(self, token: str) -> bool:
        """Compares with every token in constant time. A file that cannot be read accepts nobody."""
        try:
            text = self._file.read()
        except (OSError, UnicodeDecodeError) as error:
            log.error("the token file %s cannot be read, so nobody may ask: %s", self._file.path, type(error).__name__)
            return False
        lines = (line.strip() for line in text.splitlines())
        given = _digest(token)
        # A list: every token is compared, so that the time does not tell which one was near.
        matches = [hmac.compare_digest(given, _digest(line)) for line in lines if line and not line.startswith("#")]
        return any(matches)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


_bearer = HTTPBearer(auto_error=False, description="A token of FORGE_API_TOKEN_FILE, when the API was given one.")


def guard(tokens: Tokens | None) -> Callable[..., None]:
    """The dependency of every route that needs a token; without tokens everybody may ask."""

    def require(given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> None:
        if tokens is None or (given is not None and tokens.accepts(given.credentials)):
            return
        if given is None:
            raise HTTPException(401, "send Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})
        raise HTTPException(401, "this token is not known", {"WWW-Authenticate": 'Bearer error="invalid_token"'})

    return require
