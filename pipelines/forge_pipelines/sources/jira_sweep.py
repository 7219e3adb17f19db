"""What is gone: all ids of the site against those of bronze, each missing one asked for by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import orjson

from forge_pipelines.conditions import texts_in
from forge_pipelines.sources import Page, Scope
from forge_pipelines.sources.jira_site import Site
from forge_pipelines.sources.jira_tables import ISSUES
from forge_pipelines.tables import DELETIONS, Table, deletion

CHECKED_AT_ONCE = 100


@dataclass
class Gone:
    """The rows of a table that the source was found to have no more, by their one key, and what changes of that.

    `part`: a table whose rows go and come back with those of `table`, whose key is the first column of theirs.
    """

    scope: Scope
    table: Table
    part: Table | None = None

    @cached_property
    def keys(self) -> set[Any]:
        """Those that have not come back."""
        where = f"entity = '{self.table.name}' and reason != 'returned'"
        found = self.scope.stored(DELETIONS, ["entity_key"], where)
        return {orjson.loads(key)[0] for key in found.column("entity_key").to_pylist()}

    def missing(self, keys: Mapping[Any, str]) -> Page:
        """Rows for keys (with the reason) that are gone now."""
        new = {key: reason for key, reason in keys.items() if key not in self.keys}
        self.keys.update(new)
        return self._page(new)

    def there(self, keys: Iterable[Any]) -> Page:
        """Rows for those of these keys that had been gone."""
        back = self.keys.intersection(keys)
        self.keys.difference_update(back)
        return self._page(dict.fromkeys(sorted(back), "returned"))

    def _page(self, keys: Mapping[Any, str]) -> Page:
        rows = [deletion(self.table, [key], self.scope.now, reason) for key, reason in keys.items()]
        if self.part is not None and keys:
            here = texts_in(self.part.key[0], [key for key in keys if str(key).isalnum()])
            for key in self.scope.stored(self.part, self.part.key, here).to_pylist():
                reason = keys[key[self.part.key[0]]]
                rows.append(deletion(self.part, [key[name] for name in self.part.key], self.scope.now, reason))
        return Page({"deletions": DELETIONS.page(rows)}) if rows else Page()


@dataclass
class Sweep:
    """A comparison of all issues. `unlike`: ids of issues that bronze holds otherwise, or not at all."""

    gone: Gone
    unlike: set[str] = field(default_factory=set)

    def run(self, site: Site, projects: Sequence[str], *, whole: bool) -> Iterator[Page]:
        """Compare. An id that the search does not tell is asked for by itself before it is called gone.

        Found there but not in bronze (when bronze holds `whole` projects), or under another key: it is to be read.
        """
        there = {str(issue["id"]): str(issue["key"]) for page in site.keys(tuple(projects)) for issue in page}
        stored = self.gone.scope.stored(ISSUES, ["id", "key"], texts_in("project_key", projects)).to_pydict()
        held: dict[str, str] = dict(zip(stored["id"], stored["key"], strict=True))
        self.unlike |= {id_ for id_, key in there.items() if held.get(id_, key) != key or (whole and id_ not in held)}
        yield self.gone.there(there)
        missing = sorted(held.keys() - there.keys() - self.gone.keys)
        for at in range(0, len(missing), CHECKED_AT_ONCE):
            lot = missing[at : at + CHECKED_AT_ONCE]
            found = site.whereabouts(lot)
            self.unlike |= {id_ for id_, project in found.items() if project in projects}
            left = {id_: "moved" for id_, project in found.items() if project and project not in projects}
            yield self.gone.missing(left | {id_: "deleted" for id_ in lot if id_ not in found})
