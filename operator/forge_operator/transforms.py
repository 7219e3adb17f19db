"""The transforms of a stack: committing those that ended, and what is still to be covered. Pure.

The committed sequence in the stack's status names the next Job, so two writers of one position collide on its name.
A batch travels in its Job, so that an operator that comes back, or another one, commits what was really started.
"""

from __future__ import annotations

from collections.abc import Iterable

from forge_stack.decisions import FinishedLoad, commit_transform
from forge_stack.model import ObservabilityStack, TransformStatus
from forge_stack.wire import TransformSummary

from forge_operator.builders.transform import COMPONENT, decode_covers
from forge_operator.names import COMPONENT_LABEL, GENERATION_ANNOTATION, SEQUENCE_LABEL, Manifest, annotation, label
from forge_operator.observe import failure, job_end, moment, reported, running_pods, started_at
from forge_operator.world import World

KEPT = 5


def transform_jobs(world: World) -> list[tuple[int, Manifest]]:
    """The transform Jobs by their sequence."""
    return sorted(
        (
            (int(label(job, SEQUENCE_LABEL)), job)
            for job in world.jobs
            if label(job, COMPONENT_LABEL) == COMPONENT and label(job, SEQUENCE_LABEL).isdigit()
        ),
        key=lambda pair: pair[0],
    )


def running(jobs: Iterable[tuple[int, Manifest]], pods: Iterable[Manifest] = ()) -> list[Manifest]:
    """The transforms that have not ended, and pods of such that still run although their Job is gone."""
    active = [job for _, job in jobs if job_end(job) is None]
    return active + running_pods(pods, COMPONENT, active)


def commit_ended(
    world: World, stack: ObservabilityStack, jobs: Iterable[tuple[int, Manifest]], finished: Iterable[FinishedLoad]
) -> TransformStatus:
    """The committed position after every transform that ended; it is rebuilt from the Jobs when the status was lost.

    Then the first of the Jobs are gone too, and what they covered is told no more; but each that is left took in what
    its sources had loaded before it, in whatever batch.
    """
    status, jobs = stack.status.transform, list(jobs)
    lost = status.sequence == 0 and min((sequence for sequence, _ in jobs), default=1) > 1
    loads = list(finished)
    existing = [load.uid for load in loads]
    for sequence, job in jobs:
        end = job_end(job)
        if end is None or sequence <= status.sequence:
            continue
        pods = world.pods_of(job)
        summary = reported(pods, COMPONENT)
        covered = decode_covers(job["metadata"].get("annotations", {}))
        if lost:
            made_at = moment(job["metadata"]["creationTimestamp"])
            named = {load.source for load in covered}
            covered += [load for load in loads if load.source in named and load.ended_at < made_at]
        generation = annotation(job, GENERATION_ANNOTATION)
        status = commit_transform(
            status=status,
            sequence=sequence,
            succeeded=end.succeeded,
            covered=covered,
            existing=existing,
            started_at=started_at(job),
            ended_at=end.at,
            generation=int(generation) if generation.isdigit() else 0,
        )
        told = ""
        if not end.succeeded and summary is None:
            limit = str(stack.spec.transform.resources.limits.get("memory", ""))
            reason, message = failure(end, pods, COMPONENT, limit, "transform.resources")
            told = f"{message} ({reason})"
        status = status.with_summary(summary if isinstance(summary, TransformSummary) else None, failure=told)
    return status


def outdated(jobs: list[tuple[int, Manifest]], committed: TransformStatus) -> list[Manifest]:
    """Ended and committed transforms that need not be kept: all but the newest few."""
    ended = [job for sequence, job in jobs if sequence <= committed.sequence and job_end(job) is not None]
    return ended[:-KEPT]
