"""Edits of another manager: for each field of an intent, a value that is valid, and not what is intended. Pure.

A path leads through a manifest by names and, in lists, by elements: by their keys where the API server knows them by
keys (https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy), by their place elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kubernetes.utils.quantity import parse_quantity

Manifest = dict[str, Any]
Key = tuple[tuple[str, Any], ...]
"""The keys of an element of a list, with their values."""
Path = tuple[str | int | Key, ...]

LIST_KEYS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "containers": (("name",),),
    "env": (("name",),),
    "imagePullSecrets": (("name",),),
    "ownerReferences": (("uid",),),
    "ports": (("containerPort", "protocol"), ("port", "protocol")),
    "topologySpreadConstraints": (("topologyKey", "whenUnsatisfiable"),),
    "volumeMounts": (("mountPath",),),
    "volumes": (("name",),),
}
"""Lists whose elements have keys. A policy's `ports` are not among them: they stand inside of `ingress`."""
WHOLE = frozenset({"ingress", "egress", "rules", "items", "volumeClaimTemplates", "tolerations", "endpoints", "tls"})
"""Lists that are known only as a whole; so is what stands in them."""

OTHERS: Mapping[str, tuple[Any, ...]] = {
    "accessModes": ("ReadWriteMany",),
    "action": ("Count",),
    "clusterIP": ("10.96.7.7",),
    "concurrencyPolicy": ("Allow",),
    "drop": ("NET_RAW",),
    "effect": ("NoSchedule", "NoExecute"),
    "fsGroupChangePolicy": ("Always",),
    "imagePullPolicy": ("Always", "Never"),
    "interval": ("7s",),
    "maxUnavailable": (2,),
    "pathType": ("Exact",),
    "podManagementPolicy": ("OrderedReady",),
    "policyTypes": ("Egress",),
    "protocol": ("UDP",),
    "restartPolicy": ("OnFailure",),
    "schedule": ("1 2 3 4 *",),
    "status": ("False",),
    "terminationMessagePolicy": ("FallbackToLogsOnError",),
    "timeZone": ("Asia/Tokyo",),
    "unhealthyPodEvictionPolicy": ("IfHealthyBudget",),
    "whenDeleted": ("Delete", "Retain"),
    "whenScaled": ("Delete",),
    "whenUnsatisfiable": ("DoNotSchedule", "ScheduleAnyway"),
}
"""Other values of fields that take some words only; the first that is another is taken."""


@dataclass(frozen=True)
class Edit:
    """One field of one child is set to `value`, or removed. A key of an element that is set to another value makes
    another element of it: it is `rekeyed`."""

    path: Path
    how: Literal["set", "removed", "rekeyed"]
    value: Any = None

    @property
    def told(self) -> str:
        """The path for people."""
        return dotted(self.path)


def dotted(path: Path) -> str:
    """A path as text; an element of a list by the values of its keys."""
    parts = ("/".join(str(value) for _, value in part) if isinstance(part, tuple) else str(part) for part in path)
    return ".".join(parts)


def leaves(intent: Manifest) -> Iterator[tuple[Path, Any]]:
    """The fields that an apply of the intent owns, and their values."""
    body = {name: value for name, value in intent.items() if name not in ("apiVersion", "kind")}
    identity = ("name", "namespace")
    body["metadata"] = {name: value for name, value in intent["metadata"].items() if name not in identity}
    yield from _leaves(body, (), "", whole=False)


def _leaves(value: Any, path: Path, name: str, whole: bool) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, key), key, whole or key in WHOLE)
    elif isinstance(value, list) and value:
        for number, item in enumerate(value):
            keys = None if whole else element_keys(name, item)
            yield from _leaves(item, (*path, keys if keys is not None else number), name, whole)
    else:
        yield path, value


def element_keys(name: str, element: Any) -> Key | None:
    """The keys of an element of the list of that name; None when it is known by its place."""
    for keys in LIST_KEYS.get(name, ()):
        if isinstance(element, dict) and keys[0] in element:
            return tuple((key, element.get(key)) for key in keys if key in element)
    return None


def edits(intent: Manifest) -> Iterator[Edit]:
    """For each field another value and its removal; for an element known by keys, other keys and its removal."""
    removed: set[Path] = set()
    for path, value in leaves(intent):
        inside = path[:-1]
        if inside and isinstance(inside[-1], tuple) and path[-1] in dict(inside[-1]):
            if inside not in removed:
                removed.add(inside)
                yield Edit(inside, "removed")
            yield Edit(path, "rekeyed", rekeyed(path, value))
            continue
        if value != {}:  # an emptyDir has nothing that could be set
            yield Edit(path, "set", other(path, value, intent))
        yield Edit(path, "removed")


def other(path: Path, value: Any, intent: Manifest) -> Any:
    """Another valid value of the field."""
    name = next(part for part in reversed(path) if isinstance(part, str))
    inside = {part for part in path if isinstance(part, str)}
    if isinstance(value, bool):
        return not value
    if "volumeMounts" in inside:  # it names a volume of the pod
        return next(each for each in ("tmp", "logs" if intent["kind"] == "StatefulSet" else "store") if each != value)
    if name == "type":
        return {"RuntimeDefault": "Unconfined", "DisruptionTarget": "PodScheduled", "RollingUpdate": "Recreate"}[value]
    if name in OTHERS:
        return next(each for each in OTHERS[name] if each != value)
    if isinstance(value, int):
        return value - 1 if name in ("defaultMode", "runAsUser", "runAsGroup", "fsGroup") else value + 1
    if inside & {"requests", "limits"}:
        return ("7m" if name == "cpu" else "7Mi") if "requests" in inside else "700Gi"
    if name == "host" or "hosts" in inside:
        return "edited.example"
    if name == "path":
        return "edited" if "items" in inside else "/edited"
    if name == "operator":
        return ("Equal" if value == "Exists" else "Exists") if "tolerations" in inside else "NotIn"
    return f"{value}\nedited" if "data" in inside else "edited"


def rekeyed(path: Path, value: Any) -> Any:
    """Another valid value of a key, which no other element has."""
    if isinstance(value, int):
        return value + 1000
    return OTHERS[str(path[-1])][0] if path[-1] in OTHERS else f"{value}-edited"


def pointer(path: Path, live: Manifest) -> str | None:
    """Where the field stands in the live object, as a JSON pointer; None when it is not there."""
    tokens: list[str] = []
    value: Any = live
    for part in path:
        if isinstance(part, tuple):
            found = [n for n, each in enumerate(value) if all(each.get(k) == v for k, v in part)]
            part = found[0] if found else len(value)
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return None
        tokens.append(str(part).replace("~", "~0").replace("/", "~1"))
    return "/" + "/".join(tokens)


def holds(intent: Any, live: Any, name: str = "") -> bool:
    """Whether the live object has every field of the intent, whatever else it has."""
    if isinstance(intent, dict):
        return isinstance(live, dict) and all(k in live and holds(v, live[k], k) for k, v in intent.items())
    if isinstance(intent, list) and isinstance(live, list):
        keys = [element_keys(name, element) for element in intent]
        if keys and None not in keys:
            return all(
                any(holds(element, each) for each in live if all(each.get(k) == v for k, v in key or ()))
                for element, key in zip(intent, keys, strict=True)
            )
        return len(intent) == len(live) and all(holds(i, each) for i, each in zip(intent, live, strict=True))
    if intent == live:
        return True
    try:
        return bool(parse_quantity(str(intent)) == parse_quantity(str(live)))  # type: ignore[no-untyped-call]
    except ValueError:
        return False
