"""The Secrets that stacks name or have: watched by their metadata alone, read when a stack needs them.

All Secrets of the watched namespaces pass by, as metadata; of those that no stack needs nothing is kept.
"""

from __future__ import annotations

from collections.abc import Callable

from forge_operator.api import Api
from forge_operator.names import CHILDREN, Key, Manifest
from forge_operator.watch import Collection

SECRET = CHILDREN["Secret"]
NOT_HELMS = "type!=helm.sh/release.v1"
"""Helm keeps whole releases in Secrets, which change with every upgrade of anything."""

_Name = tuple[str, str]


class Credentials:
    """Secrets by namespace and name, as they are now; a change wakes the stacks that read it."""

    def __init__(self, api: Api, wake: Callable[[Key], None]) -> None:
        self._api = api
        self._wake = wake
        self._known: dict[_Name, Manifest | None] = {}
        self._readers: dict[_Name, set[Key]] = {}
        self._news: dict[_Name, int] = {}

    async def read(self, namespace: str, name: str, reader: Key) -> Manifest | None:
        """The Secret; None when there is none. The reader is woken when that changes."""
        where = (namespace, name)
        self._readers.setdefault(where, set()).add(reader)
        if where in self._known:
            return self._known[where]
        before = self._news.get(where, 0)
        found = await self._api.get(SECRET, namespace, name)
        secret = _trimmed(found) if found is not None else None
        if self._news.get(where, 0) == before and where in self._readers:
            self._known[where] = secret
        return secret

    def made(self, secret: Manifest, reader: Key) -> Manifest:
        """This process made a Secret, or found it made."""
        where = _where(secret)
        self._readers.setdefault(where, set()).add(reader)
        known = self._known[where] = _trimmed(secret)
        return known

    def forget(self, reader: Key) -> None:
        """A stack is gone."""
        for where in [where for where, readers in self._readers.items() if reader in readers]:
            self._readers[where].discard(reader)
            if not self._readers[where]:
                for book in (self._readers, self._known, self._news):
                    book.pop(where, None)

    def put(self, item: Manifest) -> None:
        """A Secret is there, in this version."""
        where = _where(item)
        known = self._known.get(where)
        if known is None or known["metadata"]["resourceVersion"] != item["metadata"]["resourceVersion"]:
            self._changed(where)

    def drop(self, item: Manifest) -> None:
        """A Secret is gone."""
        self._changed(_where(item))

    def keep(self, collection: Collection, names: set[_Name], version: int) -> None:
        """What a list does not hold is gone."""
        for where, known in list(self._known.items()):
            within = not collection.namespace or collection.namespace == where[0]
            if within and known is not None and where not in names:
                self._changed(where)

    def _changed(self, where: _Name) -> None:
        if where in self._readers:
            self._news[where] = self._news.get(where, 0) + 1
            self._known.pop(where, None)
            for reader in self._readers[where]:
                self._wake(reader)


def _where(item: Manifest) -> _Name:
    return item["metadata"]["namespace"], item["metadata"]["name"]


def _trimmed(secret: Manifest) -> Manifest:
    """Without the bookkeeping."""
    meta = {name: value for name, value in secret["metadata"].items() if name not in ("managedFields", "annotations")}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": secret.get("data") or {}}
