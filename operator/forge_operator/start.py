"""Start the Jobs that are due. A Job's name is its lock: whoever makes it second finds it made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from forge_stack.decisions import FinishedLoad, RunTransform
from forge_stack.model import Source

from forge_operator import builders
from forge_operator.api import Api, ApiError
from forge_operator.apply import Refusal
from forge_operator.builders import Inputs
from forge_operator.cache import Cache
from forge_operator.events import Happening
from forge_operator.names import CHILDREN, STACK, Manifest
from forge_operator.requests import Request
from forge_operator.stacks import Stacks, status_of

SOON = timedelta(seconds=0.2)
"""How soon a pass that found an old version is repeated."""


@dataclass
class Started:
    """What one pass started: what to tell of it, what was refused, when to look again for what was not due, and the
    requests for runs that were answered."""

    happenings: list[Happening] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    looks: list[datetime | None] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)


class Starter:
    """Makes Jobs."""

    def __init__(self, api: Api, cache: Cache, stacks: Stacks) -> None:
        self._api = api
        self._cache = cache
        self._stacks = stacks

    async def transform(
        self,
        inputs: Inputs,
        run: RunTransform,
        finished: Sequence[FinishedLoad],
        asked: Sequence[Request],
        started: Started,
        now: datetime,
    ) -> None:
        """Make the Job of a transform, unless the committed position has moved on since it was read.

        The last look before the act is at the API server itself: a stack known late would name a Job that ended long
        ago and may be gone. Where another pass was faster its batch stands in its Job; what is not in it waits.
        """
        key = (inputs.namespace, inputs.name)
        live = await self._api.get(STACK, *key)
        uid = inputs.stack.metadata.uid
        if live is None or live["metadata"]["uid"] != uid or status_of(live).transform.sequence != run.sequence - 1:
            if live is not None:
                self._stacks.put(live)
            started.looks.append(now + SOON)
            return
        covers = [load for load in finished if load.uid in run.uids]
        requests = [request.id for request in asked]
        full_refresh = any(request.run.full_refresh for request in asked)
        told = f"{'full refresh' if full_refresh else 'transform'} {run.sequence} started"
        told += f" for {len(covers)} load(s) of {', '.join(run.sources)}" if covers else ""
        told += "; it was asked for" if asked else ""
        job = builders.transform.job(inputs, run.sequence, covers, requests, full_refresh=full_refresh)
        await self.once(job, started, Happening("TransformStarted", "Transform", told, ""), requests)

    async def load(self, inputs: Inputs, source: Source, asked: Request, started: Started) -> None:
        """Make the Job of a load that was asked for."""
        window = asked.run.window
        told = (
            f"a backfill of {source.name} from {window.start} to {window.end}" if window else f"a load of {source.name}"
        )
        job = builders.loads.requested_load(inputs, source, asked.id, window)
        await self.once(
            job, started, Happening("RunStarted", "Load", f"{told} started; it was asked for", ""), [asked.id]
        )

    async def once(self, job: Manifest, started: Started, happening: Happening, answers: Sequence[str] = ()) -> None:
        """Make a Job, which answers requests or none; that it exists already is no error."""
        meta = job["metadata"]
        try:
            made = await self._api.create(job)
        except ApiError as error:
            if error.refused:
                started.refusals.append(Refusal(job, error.message))
                return
            if error.reason != "AlreadyExists":
                raise
            found = await self._api.get(CHILDREN["Job"], meta["namespace"], meta["name"])
            if found is not None:
                self._cache.put(found)  # else it is just gone, and that wakes the stack
        else:
            self._cache.put(made, ours=True)
            started.happenings.append(replace(happening, subject=made["metadata"]["uid"]))
            started.answered += answers
