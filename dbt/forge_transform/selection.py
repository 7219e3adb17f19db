"""Which models a transform builds. Pure: the request and what the store holds come in, dbt's selectors go out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forge_stack.wire import TransformRequest


@dataclass(frozen=True)
class Selection:
    """What to build: dbt selectors, or everything when there are none; and why, for the log."""

    selectors: tuple[str, ...]
    reason: str

    @property
    def arguments(self) -> list[str]:
        """The command line of dbt."""
        return ["--select", *self.selectors] if self.selectors else []


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
    request: TransformRequest, built: Built, *, expected: frozenset[tuple[str, str]], fingerprint: str
) -> Selection:
    """Everything when asked for, when something is missing or was built otherwise; else what the loads touch.

    Models know types, not names of sources (a staging model unites all sources of its type), so that is what is
    selected: all that is downstream of the types that loaded.
    """
    if request.full_refresh:
        return Selection((), "a full refresh was asked for")
    if missing := sorted(expected - built.relations):
        names = ", ".join(".".join(relation) for relation in missing[:3])
        return Selection((), f"{len(missing)} of {len(expected)} relations do not exist yet, e.g. {names}")
    if built.settings_fingerprint != fingerprint:
        return Selection((), "the sources, the variables or the project changed since everything was built")
    if not request.loaded:
        return Selection((), "no loads were named")
    types = {source.type for source in request.sources if source.name in request.loaded}
    return Selection(
        tuple(f"source:{type_}+" for type_ in sorted(types)), f"downstream of {', '.join(sorted(request.loaded))}"
    )
