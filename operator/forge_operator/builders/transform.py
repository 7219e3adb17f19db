"""The Job of one transform."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from forge_stack import wire
from forge_stack.decisions import FinishedLoad

from forge_operator.builders.common import (
    DSN_DIR,
    WORK_DIR,
    Inputs,
    Shape,
    child,
    container,
    env,
    pod_template,
    secret_volume,
)
from forge_operator.names import (
    CHILDREN,
    COVERS_ANNOTATION,
    GENERATION_ANNOTATION,
    REQUEST_ANNOTATION,
    SEQUENCE_LABEL,
    Manifest,
    transform_name,
)

COMPONENT = "transform"
LONGEST_TRANSFORM = 2 * 3600
KEEP = 24 * 3600
"""Seconds a finished transform stays: its evidence must outlive an operator that is away."""


def encode_covers(loads: Iterable[FinishedLoad]) -> str:
    """The batch of a transform, as its Job carries it."""
    return json.dumps([[load.uid, load.source, load.ended_at.isoformat()] for load in loads], separators=(",", ":"))


def decode_covers(annotations: Mapping[str, str]) -> list[FinishedLoad]:
    """The batch that a transform's Job carries; empty when somebody took the annotation away."""
    try:
        rows = json.loads(annotations.get(COVERS_ANNOTATION, "[]"))
        return [FinishedLoad(uid, source, datetime.fromisoformat(ended)) for uid, source, ended in rows]
    except (ValueError, TypeError):
        return []


def job(
    inputs: Inputs,
    sequence: int,
    covers: list[FinishedLoad],
    requests: Sequence[str] = (),
    *,
    full_refresh: bool = False,
) -> Manifest:
    """Transform number `sequence`, for the loads it covers. One that was asked for (`requests` are the identities of
    what asked) builds what is downstream of every source, loaded anew or not."""
    spec = inputs.stack.spec
    loaded = [source.name for source in spec.sources] if requests else [load.source for load in covers]
    request = spec.transform_request(loaded).model_copy(update={"full_refresh": full_refresh})
    shape = Shape(COMPONENT, "dbt", spec.transform.image, spec.transform.resources, spec.transform.pod_template)
    program = container(
        inputs,
        shape,
        env(
            **{
                wire.ENV_TRANSFORM: request.model_dump_json(by_alias=True),
                wire.ENV_STORE_DSN_FILE: f"{DSN_DIR}/dsn",
                wire.ENV_WORK_DIR: WORK_DIR,
                wire.ENV_TERMINATION_LOG: "/dev/termination-log",
            }
        ),
        volumeMounts=[
            {"name": "work", "mountPath": WORK_DIR},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of the pod
            {"name": "store", "mountPath": DSN_DIR, "readOnly": True},
        ],
    )
    manifest = child(
        inputs,
        CHILDREN["Job"],
        transform_name(inputs.name, sequence),
        COMPONENT,
        {SEQUENCE_LABEL: str(sequence)},
        spec={
            "backoffLimit": 0,
            "activeDeadlineSeconds": LONGEST_TRANSFORM,
            "ttlSecondsAfterFinished": KEEP,
            "podFailurePolicy": {
                "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
            },
            "template": pod_template(
                inputs,
                shape,
                more={SEQUENCE_LABEL: str(sequence)},
                restartPolicy="Never",
                terminationGracePeriodSeconds=60,
                containers=[program],
                volumes=[
                    {"name": "work", "emptyDir": {}},
                    {"name": "tmp", "emptyDir": {}},
                    secret_volume("store", inputs.store_secret, {inputs.dsn_key: "dsn"}),
                ],
            ),
        },
    )
    manifest["metadata"]["annotations"] = {
        COVERS_ANNOTATION: encode_covers(covers),
        GENERATION_ANNOTATION: str(inputs.stack.metadata.generation),
        **({REQUEST_ANNOTATION: ",".join(requests)} if requests else {}),
    }
    return manifest
