"""What a stack says of its pods: their resources, and what is laid over the pods that the operator makes.

Nothing here can take a pod out of the restricted Pod Security Standard: there is no field for what it forbids.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from forge_stack.schema import Matches, Part, Rule

_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"
_QUALIFIED = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
_LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
_OWN_LABEL = (
    r"^((app|apps|batch|statefulset)[.]kubernetes[.]io/.*|observability[.]forge[.]dev/(stack|source|sequence|first-load)"
    r"|controller-uid|job-name|pod-template-hash|controller-revision-hash)$"
)
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_OWN_VARIABLE = r"^(FORGE|CLICKHOUSE|DLT)_.*$"


def _quantity(value: str | int) -> str | int:
    if not re.fullmatch(_QUANTITY, str(value)):
        raise ValueError(f"{value!r} is not a quantity; write a number and its unit, e.g. 500m, 2G or 10Gi")
    return value


Quantity = Annotated[
    str | int,
    Field(union_mode="left_to_right"),
    AfterValidator(_quantity),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": _QUANTITY,
        }
    ),
]
Text = Annotated[str, Field(min_length=1, max_length=253)]
Image = Annotated[
    str,
    Field(min_length=1, max_length=512),
    Matches(r"^[^\s]+$", "not an image; write registry/repository:tag, or with @sha256: and a digest"),
]
DnsName = Annotated[
    Text,
    # It may become a part of a URL path: nothing but a name may pass.
    Matches(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "not a name; write lower-case letters, digits, - and ."),
]
LabelKey = Annotated[
    str,
    Field(min_length=1, max_length=253),
    Matches(_QUALIFIED, "not a label's key; write name or domain/name, e.g. example.com/pool"),
]
LabelValue = Annotated[
    str,
    Field(max_length=63),
    Matches(_LABEL_VALUE, "not a label's value; write letters, digits, -, _ and ., 63 at most"),
]
UserId = Annotated[int, Field(ge=1, le=2147483647)]


class Resources(Part):
    """Compute resources of a container, as in a pod."""

    requests: dict[str, Quantity] = Field(default_factory=dict, description="What the scheduler reserves.")
    limits: dict[str, Quantity] = Field(default_factory=dict, description="What the container may use at most.")


class Toleration(Part):
    """A taint on which the pods may run all the same."""

    key: LabelKey | None = Field(default=None, description="Key of the taint; every taint when absent.")
    operator: Literal["Exists", "Equal"] = Field(default="Equal", description="Whether the value counts.")
    value: LabelValue | None = Field(default=None, description="Value of the taint.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint; every effect when absent."
    )
    toleration_seconds: int | None = Field(default=None, description="How long a NoExecute taint is tolerated.")

    rules = (
        Rule(
            cel="has(self.key) || self.operator == 'Exists'",
            message="toleration: key is missing; name it, or set operator to Exists for every taint",
            check=lambda t: t.key is not None or t.operator == "Exists",
        ),
        Rule(
            cel="self.operator != 'Exists' || !has(self.value)",
            message="toleration: operator Exists takes no value; remove it, or set operator to Equal",
            check=lambda t: t.operator != "Exists" or t.value is None,
        ),
        Rule(
            cel="!has(self.tolerationSeconds) || has(self.effect) && self.effect == 'NoExecute'",
            message="toleration: tolerationSeconds is for effect NoExecute; set that effect or remove the seconds",
            check=lambda t: t.toleration_seconds is None or t.effect == "NoExecute",
        ),
    )


class TopologySpread(Part):
    """How the pods of one component are spread. Which pods are counted is filled in: those of the component."""

    topology_key: LabelKey = Field(description="Label of the nodes, e.g. topology.kubernetes.io/zone.")
    max_skew: int = Field(default=1, ge=1, description="By how many pods two of its values may differ.")
    when_unsatisfiable: Literal["ScheduleAnyway", "DoNotSchedule"] = Field(
        default="ScheduleAnyway", description="What becomes of a pod that cannot be placed so."
    )


def _free(description: str) -> Any:
    return Field(
        default_factory=dict,
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
        description=description,
    )


class Affinity(Part):
    """Affinity, as in a pod; the API server checks what is inside when it gets the pods."""

    node_affinity: dict[str, Any] = _free("To nodes.")
    pod_affinity: dict[str, Any] = _free("To pods.")
    pod_anti_affinity: dict[str, Any] = _free("Away from pods.")


class SecurityContext(Part):
    """Who the pods run as, where a cluster or a volume asks for certain numbers. Never root."""

    run_as_user: UserId | None = Field(default=None, description="User; the image's (101 for the store) when absent.")
    run_as_group: UserId | None = Field(default=None, description="Group; the image's (101 for the store) when absent.")
    fs_group: UserId | None = Field(default=None, description="Group that owns the volumes (101 for the store).")


class Variable(Part):
    """An environment variable of every container, e.g. HTTPS_PROXY."""

    name: Annotated[
        str,
        Field(min_length=1, max_length=128),
        Matches(r"^[A-Za-z_][A-Za-z0-9_]*$", "not a variable's name; write letters, digits and _"),
    ] = Field(description="Name.")
    value: Annotated[str, Field(max_length=4096)] = Field(
        default="", description="Value; no secrets: whoever may read the stack reads it."
    )

    rules = (
        Rule(
            cel=f"!self.name.matches('{_OWN_VARIABLE}')",
            message="env: variables that begin with FORGE_, CLICKHOUSE_ or DLT_ are the operator's; remove it",
            check=lambda v: not re.fullmatch(_OWN_VARIABLE, v.name),
        ),
    )


def _all_keys(field: str, test: str) -> str:
    return f"!has(self.{field}) || self.{field}.all(k, {test})"


_BY_NAME: dict[str, Any] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}


class PodTemplate(Part):
    """What is laid over the pods that the operator makes.

    A component's lies over the stack's: labels, annotations, nodeSelector, securityContext and env are joined by key,
    tolerations and imagePullSecrets are added up, of the rest the nearer one holds.
    """

    labels: dict[str, LabelValue] = Field(default_factory=dict, max_length=32, description="Labels of the pods.")
    annotations: dict[str, Annotated[str, Field(max_length=4096)]] = Field(
        default_factory=dict, max_length=32, description="Annotations of the pods; the operator's own stay."
    )
    node_selector: dict[str, LabelValue] = Field(
        default_factory=dict, max_length=16, description="Labels that a node must have."
    )
    tolerations: list[Toleration] = Field(
        default_factory=list, max_length=16, description="Taints on which the pods may run all the same."
    )
    affinity: Affinity | None = Field(default=None, description="Affinity, as in a pod.")
    topology_spread_constraints: list[TopologySpread] = Field(
        default_factory=list,
        max_length=4,
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["topologyKey", "whenUnsatisfiable"],
        },
        description="How pods are spread; over nodes, where possible, when absent and there are several.",
    )
    priority_class_name: DnsName | None = Field(default=None, description="PriorityClass.")
    image_pull_secrets: list[DnsName] = Field(
        default_factory=list, max_length=8, description="Secrets by which images are pulled, beside the operator's."
    )
    security_context: SecurityContext | None = Field(default=None, description="Who the pods run as.")
    env: list[Variable] = Field(
        default_factory=list, max_length=32, json_schema_extra=_BY_NAME, description="Variables of every container."
    )

    rules = (
        Rule(
            cel=" && ".join(
                f"({_all_keys(field, f'''k.matches('{_QUALIFIED}')''')})"
                for field in ("labels", "annotations", "nodeSelector")
            ),
            message="podTemplate: a key of labels, annotations or nodeSelector is none; "
            "write name or domain/name, e.g. example.com/pool",
            check=lambda p: all(
                re.fullmatch(_QUALIFIED, key) for part in (p.labels, p.annotations, p.node_selector) for key in part
            ),
        ),
        Rule(
            cel=_all_keys("labels", f"!k.matches('{_OWN_LABEL}')"),
            message="podTemplate: a label is Kubernetes' or the operator's own; remove it, or use a domain of yours",
            check=lambda p: not any(re.fullmatch(_OWN_LABEL, key) for key in p.labels),
        ),
        Rule(
            cel=_all_keys("annotations", f"!k.startsWith('{_APPARMOR}')"),
            message="podTemplate: AppArmor profiles are not set by annotation: pods stay restricted; remove it",
            check=lambda p: not any(key.startswith(_APPARMOR) for key in p.annotations),
        ),
    )

    @model_validator(mode="after")
    def _unique_keys(self) -> Self:
        spread = [f"{c.topology_key}, {c.when_unsatisfiable}" for c in self.topology_spread_constraints]
        for field, keys in (("env", [v.name for v in self.env]), ("topologySpreadConstraints", spread)):
            for key in keys:
                if keys.count(key) > 1:
                    # The API server says the same through the list's map keys.
                    raise ValueError(f"{field}: Duplicate value {key!r}; remove one")
        return self


def overlaid(far: PodTemplate | None, near: PodTemplate | None) -> PodTemplate:
    """The nearer template over the farther one."""
    a, b = far or PodTemplate(), near or PodTemplate()
    contexts = [t.security_context.model_dump(exclude_none=True) for t in (a, b) if t.security_context]
    # Both are valid; together they may be longer than one may be.
    return PodTemplate.model_construct(
        labels={**a.labels, **b.labels},
        annotations={**a.annotations, **b.annotations},
        node_selector={**a.node_selector, **b.node_selector},
        tolerations=list(dict.fromkeys([*a.tolerations, *b.tolerations])),
        affinity=b.affinity or a.affinity,
        topology_spread_constraints=b.topology_spread_constraints or a.topology_spread_constraints,
        priority_class_name=b.priority_class_name or a.priority_class_name,
        image_pull_secrets=list(dict.fromkeys([*a.image_pull_secrets, *b.image_pull_secrets])),
        security_context=SecurityContext(**{k: v for c in contexts for k, v in c.items()}) if contexts else None,
        env=list({v.name: v for v in (*a.env, *b.env)}.values()),
    )
