"""What Kubernetes objects say, in plain facts: how a Job ended, what a pod's program reported, why a pod does not run.

Pure: manifests in, facts out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from forge_stack.status import Fact
from forge_stack.wire import Summary, decode_summary

from forge_operator.names import COMPONENT_LABEL, Manifest, controller_uid, label

_WAITING = {
    "ErrImagePull": "ImagePullBackOff",
    "ImagePullBackOff": "ImagePullBackOff",
    "InvalidImageName": "ImagePullBackOff",
    "ErrImageNeverPull": "ImagePullBackOff",
    "CreateContainerConfigError": "CreateContainerConfigError",
    "CreateContainerError": "CreateContainerError",
    "RunContainerError": "CreateContainerError",
    "CrashLoopBackOff": "CrashLoopBackOff",
}
"""Reasons of a waiting container that do not go away by themselves, each pair of a flapping two under one name."""


@dataclass(frozen=True)
class Ended:
    """How a Job ended. `reason` and `message` are the condition's."""

    succeeded: bool
    at: datetime
    reason: str = ""
    message: str = ""


def moment(text: str) -> datetime:
    """A time as Kubernetes writes it."""
    return datetime.fromisoformat(text)


def condition(manifest: Manifest, name: str) -> dict[str, Any]:
    """A condition; empty when there is none."""
    conditions = manifest.get("status", {}).get("conditions") or []
    return next((dict(c) for c in conditions if c.get("type") == name), {})


def job_end(job: Manifest) -> Ended | None:
    """How a Job ended: by its terminal condition and by nothing else; None while it has none.

    Pods' phases, `succeeded` counts and the earlier conditions SuccessCriteriaMet and FailureTarget do not count
    (https://kubernetes.io/docs/concepts/workloads/controllers/job/#terminal-job-conditions).
    """
    for name in ("Complete", "Failed"):
        found = condition(job, name)
        if found.get("status") == "True":
            at = job["status"].get("completionTime") or found["lastTransitionTime"]
            return Ended(name == "Complete", moment(at), found.get("reason", ""), found.get("message", ""))
    return None


def started_at(job: Manifest) -> datetime:
    """When a Job started; when it was made, if it did not yet."""
    return moment(job.get("status", {}).get("startTime") or job["metadata"]["creationTimestamp"])


def running_pods(pods: Iterable[Manifest], component: str, jobs: Iterable[Manifest]) -> list[Manifest]:
    """The component's pods that did not end yet and belong to none of these Jobs.

    Who deletes a Job by hand takes the Job first and its pods later, at the end of their grace.
    """
    owners = {job["metadata"]["uid"] for job in jobs}
    return [
        pod
        for pod in pods
        if label(pod, COMPONENT_LABEL) == component
        and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
        and controller_uid(pod) not in owners
    ]


def _terminations(pods: Iterable[Manifest], container: str) -> list[dict[str, Any]]:
    states = [
        state["terminated"]
        for pod in pods
        for status in pod.get("status", {}).get("containerStatuses", [])
        if status["name"] == container
        for state in (status.get("state", {}), status.get("lastState", {}))
        if "terminated" in state
    ]
    return sorted(states, key=lambda state: str(state.get("finishedAt", "")))


def reported(pods: Iterable[Manifest], container: str) -> Summary | None:
    """The summary that the newest ended container left as its termination message; None when it left none."""
    ended = _terminations(pods, container)
    return decode_summary(ended[-1].get("message", "")) if ended else None


def failure(end: Ended, pods: Iterable[Manifest], container: str, limit: str, field: str) -> tuple[str, str]:
    """Why a Job failed whose program reported nothing: a reason, and what to do. `field` names its resources."""
    ended = _terminations(pods, container)
    if ended and ended[-1].get("reason") == "OOMKilled":
        told = f"at its limit of {limit}" if limit else "by the node"
        return "OOMKilled", f"it ran out of memory and was killed {told}; raise {field}.limits.memory"
    if end.reason == "DeadlineExceeded":
        return "DeadlineExceeded", f"it ran longer than it may and was stopped ({end.message or 'no more was told'})"
    code = f"; its last exit code was {ended[-1].get('exitCode')}" if ended else ""
    return "Failed", f"it ended without a summary ({end.reason or 'Failed'}: {end.message or 'no message'}){code}"


def pod_trouble(pods: Iterable[Manifest]) -> Fact | None:
    """Why a pod that should run does not, when it will not by itself; None when nothing is known to be wrong."""
    for pod in sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), reverse=True):
        name = pod["metadata"]["name"]
        status = pod.get("status", {})
        if status.get("phase") in ("Succeeded", "Failed"):
            continue
        scheduled = condition(pod, "PodScheduled")
        if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
            return Fact(False, "Unschedulable", f"pod {name} finds no node: {scheduled.get('message', '')}")
        for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
            waiting = container.get("state", {}).get("waiting", {})
            reason = _WAITING.get(waiting.get("reason", ""))
            if reason is not None:
                return Fact(False, reason, f"pod {name}: {_told(reason, container, waiting)}")
    return None


def _told(reason: str, container: dict[str, Any], waiting: dict[str, Any]) -> str:
    image = container.get("image", "")
    if reason == "ImagePullBackOff":
        return f"the image {image} cannot be pulled; check its name and the pull secrets"
    if reason == "CrashLoopBackOff":
        last = container.get("lastState", {}).get("terminated", {})
        why = last.get("reason", "Error")
        return f"the container {container['name']} keeps ending ({why}, exit code {last.get('exitCode')}); see its log"
    return f"the container {container['name']} cannot be started: {waiting.get('message', reason)}"


def stateful_set_fact(manifest: Manifest | None, pods: Iterable[Manifest], replicas: int) -> Fact:
    """Whether the store answers."""
    if manifest is None:
        return Fact(None, "Creating", "the StatefulSet is being made")
    status = manifest.get("status", {})
    ready = status.get("readyReplicas", 0)
    if ready < 1:
        return pod_trouble(pods) or Fact(False, "Starting", "waiting for the store's pod to answer")
    if ready < replicas or status.get("updateRevision") != status.get("currentRevision"):
        return Fact(True, "Updating", f"{ready} of {replicas} pods answer; an update is under way")
    return Fact(True, "Ready", f"{ready} of {replicas} pods answer")


def deployment_fact(manifest: Manifest | None, pods: Iterable[Manifest], replicas: int) -> Fact:
    """Whether the API answers."""
    if replicas == 0:
        return Fact(True, "ScaledToZero", "spec.api.replicas is 0: no pod is wanted")
    if manifest is None:
        return Fact(None, "Creating", "the Deployment is being made")
    ready = manifest.get("status", {}).get("readyReplicas", 0)
    if ready < 1:
        return pod_trouble(pods) or Fact(False, "Starting", "waiting for a pod to answer")
    return Fact(True, "Ready", f"{min(ready, replicas)} of {replicas} pods answer")
