"""Which models a transform builds. Pure: the request and what the store holds come in, dbt's selectors go out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from forge_stack.wire import TransformRequest


@dataclass(frozen=True)
class Selection:
    """What to build, and why, for the log: everything anew, what changed downstream of some types, or nothing."""

    scope: Literal["everything", "changed", "nothing"]
    reason: str
    selectors: tuple[str, ...] = ()

    @property
    def arguments(self) -> list[str]:
        """The command line of dbt."""
        return ["--full-refresh"] if self.scope == "everything" else ["--select", *self.selectors]

    def __str__(self) -> str:
        what = f"what changed in {' '.join(self.selectors)}" if self.selectors else self.scope
        return f"building {what}: {self.reason}"


@dataclass(frozen=True)
class Built:
    """What the store holds of earlier transforms."""

    relations: frozenset[tuple[str, str]]
    settings_fingerprint: str | None


def settings_fingerprint(variables: Mapping[str, Any], files: str) -> str:
    """Hash of all that decides what a build makes of the same bronze: sources, variables and the project's files."""
    text = json.dumps({"variables": variables, "files": files}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def select(
    request: TransformRequest,
    built: Built,
    new_loads: Collection[tuple[str, str]],
    *,
    expected: frozenset[tuple[str, str]],
    fingerprint: str,
    unsettled: Collection[str] = (),
) -> Selection:
    """Everything when asked for, when something is missing or was built otherwise; else what the loads touch.

    What the loads touch are those that no transform consumed (`new_loads`, source and id) and those that the request
    names. Models know types, not names of sources (a staging model unites all sources of its type), so that is what is
    selected: all that is downstream of the types. With it goes what transforms that did not succeed had selected
    (`unsettled`), new or not: what they left must pass its tests before gold shows it.
    """
    if request.full_refresh:
        return Selection("everything", "a full refresh was asked for")
    if missing := sorted(expected - built.relations):
        names = ", ".join(".".join(relation) for relation in missing[:3])
        return Selection("everything", f"{len(missing)} of {len(expected)} relations do not exist yet, e.g. {names}")
    if built.settings_fingerprint != fingerprint:
        return Selection("everything", "the sources, the variables or the project changed since everything was built")
    touched = set(request.loaded) | {source for source, _ in new_loads}
    types = {source.type for source in request.sources if source.name in touched}
    selectors = sorted({f"source:{type_}+" for type_ in types} | set(unsettled))
    why = [f"{len(new_loads)} new load(s), downstream of {', '.join(sorted(touched))}"] if touched else []
    why += ["what the last transform did not finish"] if unsettled else []
    if not selectors:
        return Selection("nothing", "every load is consumed already")
    return Selection("changed", " and ".join(why), tuple(selectors))
