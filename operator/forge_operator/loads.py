"""The loads of a stack: what their Jobs and pods say, and when a first load must be started. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from forge_stack.decisions import FinishedLoad, retry_delay
from forge_stack.model import Source, SourceStatus, StackStatus
from forge_stack.status import Fact, SourceFacts
from forge_stack.wire import LoadSummary

from forge_operator.builders.loads import COMPONENT
from forge_operator.names import (
    COMPONENT_LABEL,
    FIRST_LABEL,
    SOURCE_LABEL,
    WINDOW_ANNOTATION,
    Manifest,
    annotation,
    controller_uid,
    label,
)
from forge_operator.observe import Ended, failure, job_end, moment, pod_trouble, reported, running_pods, started_at
from forge_operator.world import World

KEPT_FIRST_LOADS = 3
MADE_BY_HAND = "cronjob.kubernetes.io/instantiate"
"""The annotation of Jobs that `kubectl create job --from` made: their CronJob does not count them as running ones."""
OWN_REASONS = frozenset(
    {"SecretMissing", "SecretKeyMissing", "Unschedulable", "ImagePullBackOff", "CreateContainerConfigError"}
    | {"CreateContainerError", "CrashLoopBackOff", "ApplyRefused"}
)
"""Reasons that this module gives while a load cannot start; they end when it can."""

SECRET_KEYS = {
    "langfuse": (("publicKey", "secretKey"),),
    "github": (("token",),),
    "jira": (("token",),),
    "prometheus": (("token",), ("username", "password")),
}
"""The keys that a source's Secret must have: one of the sets (docs/architecture.md)."""


@dataclass(frozen=True)
class Loads:
    """The load Jobs of one source, oldest end first, and the pods that still run although their Job does not."""

    source: Source
    cron_job: Manifest | None
    active: tuple[Manifest, ...]
    ended: tuple[tuple[Manifest, Ended], ...]
    leftover: tuple[Manifest, ...] = ()

    @property
    def running(self) -> bool:
        """Whether a load runs: no other may start."""
        return bool(self.active or self.leftover)

    @property
    def runs_beside_schedule(self) -> bool:
        """Whether a load runs that the CronJob does not know of, so that it would start another beside it."""
        cron_job = self.cron_job["metadata"]["uid"] if self.cron_job else None
        beside = [job for job in self.active if controller_uid(job) != cron_job or annotation(job, MADE_BY_HAND)]
        # A pod that is not on its way out has a Job that was not seen yet; the CronJob may know it.
        lost = [pod for pod in self.leftover if "deletionTimestamp" in pod["metadata"] or not controller_uid(pod)]
        return bool(beside or lost)

    @property
    def ordinary(self) -> tuple[tuple[Manifest, Ended], ...]:
        """Those that ended and were no backfills: a backfill moves no cursor, so it says nothing of the source."""
        return tuple(pair for pair in self.ended if not annotation(pair[0], WINDOW_ANNOTATION))

    @property
    def first_attempts(self) -> int:
        """The highest number of a first load that still exists."""
        jobs = [*self.active, *(job for job, _ in self.ended)]
        return max((int(label(job, FIRST_LABEL) or 0) for job in jobs), default=0)

    def succeeded_before(self, known: SourceStatus | None) -> bool:
        """Whether a load of the source is known to have succeeded: by the status, a Job, or the CronJob."""
        return (
            (known is not None and known.last_success_time is not None)
            or any(end.succeeded for _, end in self.ordinary)
            or last_success(self.cron_job) is not None
        )


def last_success(cron_job: Manifest | None) -> datetime | None:
    """When the last scheduled load succeeded, by the CronJob's own record."""
    at = (cron_job or {}).get("status", {}).get("lastSuccessfulTime")
    return moment(at) if at else None


def loads_of(world: World, source: Source, cron_job: Manifest | None) -> Loads:
    """Sort the Jobs of one source."""
    jobs = [
        job
        for job in world.jobs
        if label(job, COMPONENT_LABEL) == COMPONENT and label(job, SOURCE_LABEL) == source.name
    ]
    ends = [(job, job_end(job)) for job in jobs]
    ended = sorted(((job, end) for job, end in ends if end is not None), key=lambda pair: pair[1].at)
    active = [job for job, end in ends if end is None]
    pods = [pod for pod in running_pods(world.pods, COMPONENT, active) if label(pod, SOURCE_LABEL) == source.name]
    return Loads(source, cron_job, tuple(active), tuple(ended), tuple(pods))


def finished_loads(loads: Sequence[Loads], status: StackStatus) -> list[FinishedLoad]:
    """Every load that ended well and whose evidence exists: its Job, or, when that is gone, the CronJob's record or
    what the stack's status says of the source: a first load has no other record.

    A Job that seems to run and began before the record may be the very one that it speaks of, its end not yet seen.
    When the record was faster than all news of its Job, the load keeps the name that it was covered by.
    """
    transform, known = status.transform, {source.name: source.last_success_time for source in status.sources}
    found = []
    for each in loads:
        name = each.source.name
        ended = [(job, end) for job, end in each.ended if end.succeeded]
        for job, end in ended:
            record = _record(each.cron_job, end.at)
            uid = record if record in transform.consumed else job["metadata"]["uid"]
            found.append(FinishedLoad(uid, name, end.at))
        recorded = _newest(last_success(each.cron_job), known.get(name))
        unseen = recorded is not None and any(started_at(job) <= recorded for job in each.active)
        if recorded is not None and each.cron_job is not None and not unseen:
            seen = _newest(transform.covered.get(name), *(end.at for _, end in ended))
            if seen is None or recorded > seen:
                found.append(FinishedLoad(_record(each.cron_job, recorded), name, recorded))
    return found


def _newest(*moments: datetime | None) -> datetime | None:
    return max((moment for moment in moments if moment is not None), default=None)


def _record(cron_job: Manifest | None, at: datetime) -> str:
    """What identifies a load whose Job is gone: its CronJob, and the end of the Job to the second."""
    return f"{cron_job['metadata']['name']}@{at.isoformat()}" if cron_job else ""


def facts(world: World, loads: Loads, known: SourceStatus | None, secret_problem: Fact | None) -> SourceFacts:
    """What this pass saw of one source. An end that the status tells already is told again only with its summary, and
    an older one not at all: of the newest the Job may be gone."""
    active_pods = [pod for job in loads.active for pod in world.pods_of(job)]
    problem = secret_problem or pod_trouble(active_pods)
    result = SourceFacts(source=loads.source, running=loads.running, problem=problem)
    if not loads.ordinary:
        return result
    job, end = loads.ordinary[-1]
    summary = summary_of(world, job)
    told = known.last_load_time if known is not None else None
    if told is not None and (end.at < told or (end.at == told and summary is None)):
        return result
    reason, message = "", ""
    if not end.succeeded and summary is None:
        reason, message = failure_of(world, loads.source, job, end)
    return SourceFacts(
        source=loads.source,
        running=loads.running,
        problem=problem,
        ended_at=end.at,
        succeeded=end.succeeded,
        summary=summary,
        failure=message,
        failure_reason=reason or "LoadFailed",
    )


def summary_of(world: World, job: Manifest) -> LoadSummary | None:
    """What a load said of itself; None when it could not."""
    summary = reported(world.pods_of(job), COMPONENT)
    return summary if isinstance(summary, LoadSummary) else None


def failure_of(world: World, source: Source, job: Manifest, end: Ended) -> tuple[str, str]:
    """Why a load failed: its own words, or what Kubernetes knows."""
    if (summary := summary_of(world, job)) is not None and summary.error is not None:
        return summary.error.reason, summary.error.message
    limit = str(source.resources.limits.get("memory", ""))
    return failure(end, world.pods_of(job), COMPONENT, limit, f"sources[{source.name}].resources")


def settled(known: SourceStatus | None, problem: object) -> SourceStatus | None:
    """The earlier status without a problem of ours that has gone away."""
    if known is None or problem is not None or known.reason not in OWN_REASONS or known.state != "Failing":
        return known
    state = "Pending" if known.last_success_time is None else "Healthy"
    return known.model_copy(update={"state": state, "reason": "", "message": ""})


def secret_problem(source: Source, secret: Manifest | None) -> Fact | None:
    """Whether the Secret that a source names is there and has its keys."""
    if source.secret_name is None:
        return None
    options = SECRET_KEYS[source.type]
    told = " or ".join(" and ".join(keys) for keys in options)
    if secret is None:
        return Fact(False, "SecretMissing", f"the Secret {source.secret_name} does not exist; make it with {told}")
    data = secret.get("data", {})
    if any(all(key in data for key in keys) for keys in options):
        return None
    return Fact(False, "SecretKeyMissing", f"the Secret {source.secret_name} lacks keys; it needs {told}")


def first_load_due(world: World, loads: Loads) -> tuple[datetime, int]:
    """When the next first load of a source that never loaded is due (not after now: at once), and its number."""
    attempts = loads.first_attempts
    if not loads.ordinary:
        return world.now, attempts + 1
    return loads.ordinary[-1][1].at + retry_delay(max(attempts, 1)), attempts + 1


def of_removed_sources(world: World, names: Sequence[str]) -> list[Manifest]:
    """Load Jobs of sources that the stack no longer has; those of a CronJob go with it, first loads do not."""
    return [
        job
        for job in world.jobs
        if label(job, COMPONENT_LABEL) == COMPONENT
        and label(job, SOURCE_LABEL) not in names
        and "deletionTimestamp" not in job["metadata"]
    ]


def outdated_first_loads(loads: Loads) -> list[Manifest]:
    """Failed first loads that need not be kept: all but the newest few."""
    failed = [job for job, end in loads.ended if label(job, FIRST_LABEL) and not end.succeeded]
    return failed[:-KEPT_FIRST_LOADS]
