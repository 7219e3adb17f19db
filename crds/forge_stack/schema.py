"""The base of the resource's models: one rule, checked in Python and, as CEL, by the API server."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


@dataclass(frozen=True)
class Rule:
    """One validation rule of an object.

    `cel` is what the API server evaluates (https://kubernetes.io/docs/reference/using-api/cel/), `check` its twin for
    the CLI, the local run and the operator; both refuse with `message`, which names the field and the remedy.
    """

    cel: str
    message: str
    check: Callable[[Any], bool]


@dataclass(frozen=True)
class Matches:
    """A text must match a pattern (RE2 and Python alike, without quotes); the message says what to write."""

    pattern: str
    message: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def check(text: str) -> str:
            if not re.fullmatch(self.pattern, text):  # a `$` of Python's would let a line end pass
                raise ValueError(self.message)
            return text

        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        rule = {"rule": f"self.matches(r'{self.pattern}')", "message": self.message}
        return handler(schema) | {"x-kubernetes-validations": [rule]}


class Part(BaseModel):
    """A part of the resource: camel case in YAML, unknown fields refused, rules checked."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)
    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _obey_rules(self) -> Self:
        for rule in self.rules:
            if not rule.check(self):
                raise ValueError(rule.message)
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core)
        if cls.rules:
            target = handler.resolve_ref_schema(schema)
            target["x-kubernetes-validations"] = [{"rule": r.cel, "message": r.message} for r in cls.rules]
        return schema
