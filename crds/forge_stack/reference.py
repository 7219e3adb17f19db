"""The reference of the resource for people, made from the CRD: one table a part, in the order of the YAML."""

from __future__ import annotations

import json
from typing import Any

from forge_stack.crd import custom_resource_definition
from forge_stack.model import API_VERSION, KIND

_HEAD = f"""\
# {KIND}

<!-- Made from forge_stack.model by `make generate`; do not edit by hand. -->

`apiVersion: {API_VERSION}`, namespaced, short name `obs`. The same text: `kubectl explain obs.spec --recursive`.
"""


def _type(part: dict[str, Any]) -> str:
    if "x-kubernetes-int-or-string" in part:
        return "quantity"
    if part.get("type") == "array":
        return f"list of {_type(part['items'])}"
    if part.get("type") == "object" and "additionalProperties" in part:
        return f"map of {_type(part['additionalProperties'])}"
    if "enum" in part:
        return " or ".join(f"`{value}`" for value in part["enum"])
    return str(part.get("format") or part["type"])


def _row(name: str, part: dict[str, Any], required: bool) -> str:
    default = "required" if required else f"`{json.dumps(part['default'])}`" if "default" in part else ""
    text = part.get("description", "").replace("|", "\\|")
    return f"| `{name}` | {_type(part)} | {default} | {text} |".replace("{{", "{ {")


def _section(path: str, part: dict[str, Any], told: dict[str, str]) -> list[str]:
    """A part and what is in it; what was told before is named by its path. `told` grows."""
    properties = part.get("properties", {})
    if not properties:
        return []
    what = json.dumps([properties, part.get("x-kubernetes-validations")], sort_keys=True)
    if what in told:
        return [f"\n## {path}\n", f"As {told[what]}."]
    told[what] = path
    lines = [f"\n## {path}\n", "| field | type | default | meaning |", "| --- | --- | --- | --- |"]
    lines += [_row(name, child, name in part.get("required", [])) for name, child in properties.items()]
    lines += [f"\n- {rule['message']}" for rule in part.get("x-kubernetes-validations", [])]
    for name, child in properties.items():
        lines += _section(f"{path}.{name}", child, told)
        lines += _section(f"{path}.{name}[]", child.get("items", {}), told)
    return lines


def render() -> str:
    """The page."""
    schema = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    told: dict[str, str] = {}
    return (
        "\n".join([_HEAD, *(line for part in ("spec", "status") for line in _section(part, schema[part], told))]) + "\n"
    )
