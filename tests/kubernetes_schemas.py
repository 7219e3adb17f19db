#!/usr/bin/env python3
"""Kubernetes' own OpenAPI document as the JSON schemas that kubeconform reads, without the network.

The document comes with the Go module k8s.io/kubernetes, which the test cluster is built from. Strict: an unknown
field is an error. Prints the folder.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any


def strict(definition: dict[str, Any], name: str) -> dict[str, Any]:
    """One definition: references into the file of definitions, no unknown fields."""
    text = json.dumps(definition).replace('"#/definitions/', '"definitions.json#/definitions/')
    schema: dict[str, Any] = json.loads(text)
    if "properties" in schema and "additionalProperties" not in schema:
        schema["additionalProperties"] = False
    if name.endswith("IntOrString"):
        return {"oneOf": [{"type": "string"}, {"type": "integer"}]}
    if name.endswith("resource.Quantity"):
        return {"oneOf": [{"type": "string"}, {"type": "number"}]}
    return schema


def write_schemas(swagger: Path, folder: Path) -> None:
    """Write `<kind>-<group>-<version>.json` for every kind, as kubeconform's default template names them."""
    definitions = json.loads(swagger.read_text(encoding="utf-8"))["definitions"]
    folder.mkdir(parents=True)
    made = {name: strict(definition, name) for name, definition in definitions.items()}
    (folder / "definitions.json").write_text(json.dumps({"definitions": made}), encoding="utf-8")
    for name, definition in definitions.items():
        for kind in definition.get("x-kubernetes-group-version-kind", []):
            group = kind["group"].split(".")[0]
            parts = [kind["kind"].lower(), *([group] if group else []), kind["version"]]
            schema = {"$ref": f"definitions.json#/definitions/{name}"}
            (folder / f"{'-'.join(parts)}.json").write_text(json.dumps(schema), encoding="utf-8")


def main() -> None:
    """Make the schemas in the given folder unless they are there."""
    folder = Path(sys.argv[1])
    if not folder.exists():
        module = Path(__file__).parent / "cluster" / "kube"
        where = subprocess.run(
            ["go", "mod", "download", "-json", "k8s.io/kubernetes"],
            cwd=module,
            check=True,
            capture_output=True,
            text=True,
        )
        part = folder.with_name(f"{folder.name}.part")  # one that was cut off does not look whole
        shutil.rmtree(part, ignore_errors=True)
        write_schemas(Path(json.loads(where.stdout)["Dir"]) / "api" / "openapi-spec" / "swagger.json", part)
        part.rename(folder)
    sys.stdout.write(f"{folder}\n")


if __name__ == "__main__":
    main()
