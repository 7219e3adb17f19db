"""Loads: a CronJob a source, and the Job of its first load."""

from __future__ import annotations

from typing import Any

from forge_stack import wire
from forge_stack.model import Source
from forge_stack.runs import Window

from forge_operator.builders.common import (
    CREDENTIALS_DIR,
    DSN_DIR,
    WORK_DIR,
    Inputs,
    Shape,
    child,
    container,
    env,
    labels,
    pod_template,
    secret_volume,
)
from forge_operator.names import (
    CHILDREN,
    FIRST_LABEL,
    REQUEST_ANNOTATION,
    SOURCE_LABEL,
    WINDOW_ANNOTATION,
    Manifest,
    first_load_name,
    load_name,
    run_name,
)

COMPONENT = "load"
HISTORY = 5
"""Finished Jobs kept of each outcome: they are the evidence by which transforms are started."""
MISSED_TICK = 300
"""Seconds for which a missed tick is caught up; the next load brings what a skipped one would have."""
LONGEST_LOAD = 6 * 3600
KEEP = 24 * 3600
"""Seconds a finished load stays that no CronJob made: its evidence must outlive an operator that is away."""
GRACE = 300
"""Seconds a load gets to stop at a clean cursor."""


def cron_jobs(inputs: Inputs) -> list[Manifest]:
    """The CronJobs of all sources."""
    return [cron_job(inputs, source) for source in inputs.stack.spec.sources]


def cron_job(inputs: Inputs, source: Source) -> Manifest:
    """One source's schedule. It is held until the first load succeeded, so that no two loads of a source overlap."""
    return child(
        inputs,
        CHILDREN["CronJob"],
        load_name(inputs.name, source.name),
        COMPONENT,
        {SOURCE_LABEL: source.name},
        spec={
            "schedule": source.schedule,
            "timeZone": source.time_zone,
            "suspend": inputs.stack.spec.suspend or source.suspend or source.name in inputs.held,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": MISSED_TICK,
            "successfulJobsHistoryLimit": HISTORY,
            "failedJobsHistoryLimit": HISTORY,
            "jobTemplate": {
                "metadata": {"labels": labels(inputs, COMPONENT, {SOURCE_LABEL: source.name})},
                "spec": job_spec(inputs, source),
            },
        },
    )


def first_load(inputs: Inputs, source: Source, attempt: int) -> Manifest:
    """The Job of a source's first load; it exists before the first tick of the schedule."""
    return child(
        inputs,
        CHILDREN["Job"],
        first_load_name(inputs.name, source.name, attempt),
        COMPONENT,
        {SOURCE_LABEL: source.name, FIRST_LABEL: str(attempt)},
        spec={**job_spec(inputs, source), "ttlSecondsAfterFinished": KEEP},
    )


def requested_load(inputs: Inputs, source: Source, request: str, window: Window | None) -> Manifest:
    """The Job of a load that was asked for; `request` is the identity of what asked, `window` is that of a backfill."""
    manifest = child(
        inputs,
        CHILDREN["Job"],
        run_name(inputs.name, source.name, request),
        COMPONENT,
        {SOURCE_LABEL: source.name},
        spec={**job_spec(inputs, source, window), "ttlSecondsAfterFinished": KEEP},
    )
    told = {WINDOW_ANNOTATION: str(window)} if window else {}
    manifest["metadata"]["annotations"] = {REQUEST_ANNOTATION: request, **told}
    return manifest


def job_spec(inputs: Inputs, source: Source, window: Window | None = None) -> dict[str, Any]:
    """One load: at most two pods, each with an empty work folder; a pod lost to a drain does not count."""
    mounts = [
        {"name": "work", "mountPath": WORK_DIR},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of the pod
        {"name": "store", "mountPath": DSN_DIR, "readOnly": True},
    ]
    volumes = [
        {"name": "work", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
        secret_volume("store", inputs.store_secret, {inputs.dsn_key: "dsn"}),
    ]
    variables = {
        wire.ENV_SOURCE: source.model_dump_json(by_alias=True, exclude_none=True),
        wire.ENV_STORE_DSN_FILE: f"{DSN_DIR}/dsn",
        wire.ENV_WORK_DIR: WORK_DIR,
        wire.ENV_TERMINATION_LOG: "/dev/termination-log",
    }
    if window:
        variables[wire.ENV_INTERVAL_START] = window.start.isoformat()
        variables[wire.ENV_INTERVAL_END] = window.end.isoformat()
    if source.secret_name:
        variables[wire.ENV_CREDENTIALS_DIR] = CREDENTIALS_DIR
        mounts.append({"name": "credentials", "mountPath": CREDENTIALS_DIR, "readOnly": True})
        volumes.append(secret_volume("credentials", source.secret_name))
    shared = inputs.stack.spec.loads
    shape = Shape(COMPONENT, "pipelines", shared.image, source.resources, shared.pod_template)
    program = container(
        inputs,
        shape,
        env(**variables),
        args=[source.name],
        volumeMounts=mounts,
        terminationMessagePolicy="File",
    )
    return {
        "backoffLimit": 1,
        "activeDeadlineSeconds": LONGEST_LOAD,
        "podFailurePolicy": {
            "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
        },
        "template": pod_template(
            inputs,
            shape,
            more={SOURCE_LABEL: source.name},
            restartPolicy="Never",
            terminationGracePeriodSeconds=GRACE,
            containers=[program],
            volumes=volumes,
        ),
    }
