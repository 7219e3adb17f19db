"""Whether a live object still holds what was applied to it. Pure.

The API server keeps, for every manager, the fields that it owns (metadata.managedFields,
https://kubernetes.io/docs/reference/using-api/server-side-apply/). Who changes the value of a field takes it over, so
an object holds an intent when all fields of the intent are still ours, have its values, and we own no others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from forge_operator.names import MANAGER, Manifest

_IDENTITY = frozenset({"apiVersion", "kind"})
_NAMES = frozenset({"name", "namespace"})
_DEFAULTED = frozenset({"protocol", "volumeMode", "apiVersion", "kind", "status", "creationTimestamp"})
"""What the API server fills in inside lists that it knows only as a whole."""


@dataclass(frozen=True)
class Difference:
    """A field that is not as it was intended. `lost`: it is no longer ours, so somebody else changed or removed it."""

    path: tuple[str, ...]
    lost: bool

    @property
    def told(self) -> str:
        """As people write it."""
        return ".".join(self.path)


def differences(intent: Manifest, live: Manifest) -> list[Difference]:
    """What of the intent the live object does not hold, and what it holds of ours that is no longer intended."""
    fields = fields_of(live, MANAGER)
    wanted = {name: value for name, value in intent.items() if name not in _IDENTITY}
    wanted["metadata"] = {name: value for name, value in intent["metadata"].items() if name not in _NAMES}
    return list(_compare(wanted, live, fields, ()))


def fields_of(live: Manifest, manager: str) -> Mapping[str, Any]:
    """The fields that a manager owns by server-side apply; empty when it owns none."""
    for entry in live["metadata"].get("managedFields", []):
        if entry.get("manager") == manager and entry.get("operation") == "Apply" and not entry.get("subresource"):
            return dict(entry.get("fieldsV1", {}))
    return {}


def changed_by(live: Manifest, path: tuple[str, ...]) -> str:
    """Which manager owns the field now; who wrote last, of all but us, when nobody does."""
    others = [
        entry
        for entry in live["metadata"].get("managedFields", [])
        if entry.get("manager") != MANAGER and not entry.get("subresource")
    ]
    owners = [entry for entry in others if _owns(entry.get("fieldsV1", {}), path)] or others
    return str(max(owners, key=lambda entry: entry.get("time", ""))["manager"]) if owners else "another client"


def _compare(wanted: Any, live: Any, fields: Any, path: tuple[str, ...]) -> Iterator[Difference]:
    if fields is None:
        yield Difference(path, lost=True)
    elif isinstance(wanted, dict) and fields:  # a value that is owned as a whole has no fields
        live = live if isinstance(live, dict) else {}
        for name, value in wanted.items():
            yield from _compare(value, live.get(name), fields.get(f"f:{name}"), (*path, name))
        for field in fields:
            if field.startswith("f:") and field[2:] not in wanted:
                yield Difference((*path, field[2:]), lost=False)
    elif isinstance(wanted, list) and fields:
        yield from _compare_keyed(wanted, live if isinstance(live, list) else [], fields, path)
    elif not _equal(wanted, live, path):
        yield Difference(path, lost=False)


def _compare_keyed(
    wanted: list[Any], live: list[Any], fields: Mapping[str, Any], path: tuple[str, ...]
) -> Iterator[Difference]:
    """A list whose elements have keys, e.g. containers by name."""
    owned = [(json.loads(name[2:]), below) for name, below in fields.items() if name.startswith("k:")]
    for key, below in owned:
        told = (*path, "/".join(str(value) for value in key.values()))
        element = _by_key(wanted, key)
        if element is None:
            yield Difference(told, lost=False)
        else:
            yield from _compare(element, _by_key(live, key), below, told)
    for element in wanted:
        if not any(_has_key(element, key) for key, _ in owned):
            yield Difference((*path, str(element.get("name", ""))), lost=True)


def _has_key(element: Any, key: Mapping[str, Any]) -> bool:
    return isinstance(element, dict) and all(element.get(name, value) == value for name, value in key.items())


def _by_key(elements: list[Any], key: Mapping[str, Any]) -> Any:
    return next((element for element in elements if _has_key(element, key)), None)


def _equal(wanted: Any, live: Any, path: tuple[str, ...]) -> bool:
    if isinstance(wanted, dict) and isinstance(live, dict):
        more = live.keys() - wanted.keys()
        return more <= _DEFAULTED and all(_equal(v, live.get(name), (*path, name)) for name, v in wanted.items())
    if isinstance(wanted, list) and isinstance(live, list):
        return len(wanted) == len(live) and all(_equal(w, each, path) for w, each in zip(wanted, live, strict=True))
    if wanted == live:
        return True
    # The API server writes 1024Mi as 1Gi.
    return bool({"requests", "limits"} & set(path)) and _quantity(wanted) == _quantity(live)


def _quantity(value: Any) -> Any:
    try:
        return parse_quantity(str(value))  # type: ignore[no-untyped-call]
    except ValueError:
        return value


def _owns(fields: Any, path: tuple[str, ...]) -> bool:
    """Whether a set of fields has one at the path, or one that holds it."""
    for name in path:
        if not isinstance(fields, dict):
            return False
        if f"f:{name}" in fields:
            fields = fields[f"f:{name}"]
            continue
        keyed = [
            below
            for field, below in fields.items()
            if field.startswith("k:") and name == "/".join(str(value) for value in json.loads(field[2:]).values())
        ]
        if not keyed:
            return False
        fields = keyed[0]
    return True
