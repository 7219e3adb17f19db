"""Runs that a stack's annotation asks for: what is asked, what was started already, what is due now. Pure.

An item is known by its words and by when they were written, so it is the same after a crash and another when somebody
asks again. Its Job carries that identity: first the Job is made, then the item is taken out of the annotation. Whoever
comes between the two finds the Job and only takes the item out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from forge_stack.model import ObservabilityStack, Source
from forge_stack.runs import RUN_NOW, Run, parse_runs
from forge_stack.status import Fact

from forge_operator.loads import Loads
from forge_operator.names import REQUEST_ANNOTATION, Manifest, annotation


@dataclass(frozen=True)
class Request:
    """One run that is asked for; `id` is what its Job is known by."""

    id: str
    run: Run


@dataclass(frozen=True)
class Requests:
    """What the annotation asks for: its `value` as it was read (empty: none), the runs, and why others are refused."""

    value: str = ""
    written_at: str = ""
    runs: tuple[Request, ...] = ()
    refusals: tuple[str, ...] = ()

    @property
    def transforms(self) -> tuple[Request, ...]:
        """The transforms among them; one Job does them all."""
        return tuple(request for request in self.runs if not request.run.source)

    def without(self, ids: Collection[str]) -> Requests:
        """Those that are not among these."""
        return replace(self, runs=tuple(request for request in self.runs if request.id not in ids))


def parse(manifest: Manifest, stack: ObservabilityStack) -> Requests:
    """Read the annotation of a stack's manifest. `all` leaves out the sources that are suspended."""
    value = annotation(manifest, RUN_NOW)
    if not value:
        return Requests()
    at = _written_at(manifest)
    if stack.spec.suspend:
        return Requests(value, at, refusals=("the stack is suspended; set spec.suspend to false and ask again",))
    names = [source.name for source in stack.spec.sources]
    runs, refusals = parse_runs(value, names, [source.name for source in stack.spec.sources if not source.suspend])
    wanted = [Request(run.identity or _identity(stack, run, at), run) for run in runs]
    return Requests(value, at, tuple(wanted), tuple(refusals))


def _written_at(manifest: Manifest) -> str:
    """When the annotation was written, to the second, by the API server's bookkeeping of who wrote what."""
    times = [
        str(entry.get("time", ""))
        for entry in manifest["metadata"].get("managedFields", [])
        if f"f:{RUN_NOW}" in entry.get("fieldsV1", {}).get("f:metadata", {}).get("f:annotations", {})
    ]
    return max(times, default="")


def _identity(stack: ObservabilityStack, run: Run, written_at: str) -> str:
    return hashlib.sha256("\0".join([stack.metadata.uid, str(run), written_at]).encode()).hexdigest()[:16]


def started(jobs: Iterable[Manifest]) -> set[str]:
    """The requests that have a Job."""
    return {identity for job in jobs for identity in annotation(job, REQUEST_ANNOTATION).split(",") if identity}


def holding(requests: Requests, sources: Iterable[Loads]) -> set[str]:
    """The sources whose CronJob must not fire: a load is asked for, or runs that the CronJob does not know of."""
    return {request.run.source for request in requests.runs if request.run.source} | {
        each.source.name for each in sources if each.runs_beside_schedule
    }


def due_loads(
    requests: Requests, sources: Sequence[Loads], problems: Mapping[str, Fact | None]
) -> list[tuple[Request, Source]]:
    """The loads to start now: of each source the first that is asked for, once none runs, none can be started by the
    schedule (its CronJob is seen to be held), and nothing keeps it from starting."""
    found = []
    for each in sources:
        wanted = next((request for request in requests.runs if request.run.source == each.source.name), None)
        if wanted is not None and _held(each) and not each.running and problems.get(each.source.name) is None:
            found.append((wanted, each.source))
    return found


def unheld(requests: Requests, sources: Iterable[Loads], problems: Mapping[str, Fact | None]) -> bool:
    """Whether a load is asked for that could start but for its CronJob, which was not yet seen to be held."""
    wanted = {r.run.source for r in requests.runs if problems.get(r.run.source) is None}
    return any(each.source.name in wanted and not _held(each) for each in sources)


def _held(loads: Loads) -> bool:
    return loads.cron_job is not None and loads.cron_job.get("spec", {}).get("suspend") is True


def settle(requests: Requests, rest: Requests) -> list[dict[str, Any]]:
    """The JSON patch that leaves only the rest of the requests in the annotation; empty when nothing is to be done.

    They keep their identities, for a Job of theirs may be made and not seen yet. The patch fails when the annotation
    is no longer what was read: somebody asked for something else meanwhile.
    """
    if not requests.value or (rest.runs == requests.runs and not requests.refusals):
        return []
    path = f"/metadata/annotations/{RUN_NOW.replace('~', '~0').replace('/', '~1')}"
    value = ",".join(str(replace(request.run, identity=request.id)) for request in rest.runs)
    change = {"op": "replace", "path": path, "value": value} if value else {"op": "remove", "path": path}
    return [{"op": "test", "path": path, "value": requests.value}, change]
