"""A stack file: YAML documents, one ObservabilityStack and the Secrets that it names."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from forge_stack.model import API_VERSION, KIND, ObservabilityStack, explain
from pydantic import ValidationError


class StackFileError(Exception):
    """The file cannot be used; the message says which document and field, and what to do."""


@dataclass(frozen=True)
class StackFile:
    """One stack, its raw manifest, and the Secrets written beside it (name to key to value)."""

    path: Path
    stack: ObservabilityStack
    manifest: dict[str, Any]
    secrets: dict[str, dict[str, str]] = field(default_factory=dict, repr=False)
    secret_manifests: list[dict[str, Any]] = field(default_factory=list, repr=False)

    @classmethod
    def read(cls, path: Path) -> StackFile:
        """Read and check a file. Raises StackFileError."""
        try:
            documents = [d for d in yaml.safe_load_all(path.read_text(encoding="utf-8")) if d]
        except OSError as error:
            raise StackFileError(f"{path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise StackFileError(f"{path} is not UTF-8 text") from error
        except yaml.YAMLError as error:
            # Without the line itself, which may hold a secret.
            mark = getattr(error, "problem_mark", None)
            where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
            raise StackFileError(
                f"{path} is not YAML{where}: {getattr(error, 'problem', None) or 'bad text'}"
            ) from None
        kinds = [d.get("kind") if isinstance(d, dict) else type(d).__name__ for d in documents]
        stacks = [d for d, kind in zip(documents, kinds, strict=True) if kind == KIND]
        if len(stacks) != 1:
            raise StackFileError(f"{path} holds {len(stacks)} documents of kind {KIND}; it must hold one")
        unknown = sorted({str(kind) for kind in kinds} - {KIND, "Secret"})
        if unknown:
            raise StackFileError(
                f"{path} holds documents of kind {', '.join(unknown)}; only {KIND} and Secret belong here"
            )
        if stacks[0].get("apiVersion") != API_VERSION:
            raise StackFileError(f"{path}: apiVersion is {stacks[0].get('apiVersion')!r}; write {API_VERSION}")
        try:
            stack = ObservabilityStack.parse(stacks[0])
        except ValidationError as error:
            raise StackFileError("\n  ".join([f"{path}: the stack is refused:", *explain(error)])) from error
        secret_manifests = [d for d in documents if d["kind"] == "Secret"]
        for secret in secret_manifests:
            meta = secret.get("metadata")
            if not isinstance(meta, dict) or not isinstance(meta.get("name"), str):
                raise StackFileError(f"{path}: a Secret has no name; write it as metadata.name")
        return cls(
            path,
            stack,
            stacks[0],
            {s["metadata"]["name"]: _values(path, s) for s in secret_manifests},
            secret_manifests,
        )


def _values(path: Path, secret: dict[str, Any]) -> dict[str, str]:
    """A Secret's values; stringData wins over data, as in the API."""
    name = secret["metadata"]["name"]
    for part in ("data", "stringData"):
        found = secret.get(part) or {}
        if not isinstance(found, dict):
            raise StackFileError(f"{path}: Secret {name}: {part} is no mapping; write a line `key: value` each")
        for key, value in found.items():
            if not isinstance(value, str):
                # YAML reads 0123 as 83 and yes as true: what would be sent is not what stands there.
                raise StackFileError(f"{path}: Secret {name}: the value of {key} is no text; put it in quotes")
    try:
        values = {k: base64.b64decode(v, validate=True).decode() for k, v in (secret.get("data") or {}).items()}
    except ValueError as error:
        raise StackFileError(f"{path}: Secret {name}: a value under data is not base64; use stringData") from error
    return values | (secret.get("stringData") or {})
