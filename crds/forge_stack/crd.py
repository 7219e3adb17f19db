"""The CustomResourceDefinition, made from the model."""

from __future__ import annotations

from typing import Any

import yaml

from forge_stack.model import GROUP, KIND, NAME_LENGTH, PLURAL, VERSION, StackSpec, StackStatus

# What a structural schema may carry (https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/).
_KEPT = {
    "type",
    "description",
    "default",
    "enum",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
    "required",
    "x-kubernetes-validations",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
}


def structural(schema: dict[str, Any], definitions: dict[str, Any] | None = None) -> dict[str, Any]:
    """A JSON schema as pydantic writes it, as a structural schema: references resolved, nulls and titles gone."""
    definitions = schema.get("$defs", {}) if definitions is None else definitions
    if "$ref" in schema:
        target = definitions[schema["$ref"].rsplit("/", 1)[-1]]
        own = {key: value for key, value in schema.items() if key != "$ref"}
        return structural({**target, **own}, definitions)
    options = [option for option in schema.get("anyOf", []) if option.get("type") != "null"]
    if options and "x-kubernetes-int-or-string" not in schema:
        own = {key: value for key, value in schema.items() if key != "anyOf"}
        return structural({**options[0], **own}, definitions)
    result = {key: value for key, value in schema.items() if key in _KEPT and not (key == "default" and value is None)}
    if "const" in schema:
        result["enum"] = [schema["const"]]
    if "x-kubernetes-int-or-string" in schema:
        result["anyOf"] = schema["anyOf"]
    if "properties" in schema:
        result["properties"] = {name: structural(part, definitions) for name, part in schema["properties"].items()}
    if "items" in schema:
        result["items"] = structural(schema["items"], definitions)
    if schema.get("type") == "object" and isinstance(extra := schema.get("additionalProperties"), dict):
        result["additionalProperties"] = structural(extra, definitions)
    if result.get("type") == "array" and "properties" not in result.get("items", {}):
        result.setdefault("x-kubernetes-list-type", "atomic")
    return result


def _without_defaults(part: Any) -> Any:
    """Nothing is filled into a status: what is absent is not known."""
    if isinstance(part, dict):
        return {key: _without_defaults(value) for key, value in part.items() if key != "default"}
    return [_without_defaults(item) for item in part] if isinstance(part, list) else part


def _column(name: str, path: str, kind: str = "string", description: str = "") -> dict[str, str]:
    return {"name": name, "type": kind, "jsonPath": path, "description": description}


def _condition_column(name: str, condition: str) -> dict[str, str]:
    path = f'.status.conditions[?(@.type=="{condition}")].status'
    return _column(name, path, description=f"The condition {condition}.")


def custom_resource_definition() -> dict[str, Any]:
    """The CRD as a manifest."""
    spec = structural(StackSpec.model_json_schema(by_alias=True))
    status = _without_defaults(structural(StackStatus.model_json_schema(by_alias=True)))
    schema = {
        "type": "object",
        "description": "One stack: sources in, gold tables and an API out.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "maxLength": NAME_LENGTH, "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$"}
                },
            },
            "spec": spec,
            "status": status,
        },
    }
    columns = [
        _condition_column("Ready", "Ready"),
        _condition_column("Store", "StoreReady"),
        _column("Sources", ".status.healthySources", description="Healthy sources of those that are not suspended."),
        _column("Last load", ".status.lastLoadTime", "date", "When the last load ended."),
        _column("Last transform", ".status.lastTransformTime", "date", "When the last successful transform ended."),
        _column("Age", ".metadata.creationTimestamp", "date"),
    ]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["obs"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": columns,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


class _Dumper(yaml.SafeDumper):
    """YAML without anchors: every reader of the file sees each schema where it belongs."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def render() -> str:
    """The CRD as the text of its file."""
    head = "# Made from forge_stack.model by `forge-crd`; do not edit by hand.\n"
    return head + yaml.dump(
        custom_resource_definition(), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True
    )
