"""Start the Jobs that are due. A Job's name is its lock: whoever makes it second finds it made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from forge_stack.decisions import FinishedLoad, RunTransform

from forge_operator import builders
from forge_operator.api import Api, ApiError
from forge_operator.apply import REFUSED, Refusal
from forge_operator.builders import Inputs
from forge_operator.cache import Cache
from forge_operator.events import Happening
from forge_operator.names import CHILDREN, STACK, Manifest
from forge_operator.stacks import Stacks, status_of

SOON = timedelta(seconds=0.2)
"""How soon a pass that found an old version is repeated."""


@dataclass
class Started:
    """What one pass started: what to tell of it, what was refused, and when to look again for what was not due."""

    happenings: list[Happening] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    looks: list[datetime | None] = field(default_factory=list)


class Starter:
    """Makes Jobs."""

    def __init__(self, api: Api, cache: Cache, stacks: Stacks) -> None:
        self._api = api
        self._cache = cache
        self._stacks = stacks

    async def transform(
        self, inputs: Inputs, run: RunTransform, finished: Sequence[FinishedLoad], started: Started, now: datetime
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
        told = f"transform {run.sequence} started for {len(covers)} load(s) of {', '.join(run.sources)}"
        job = builders.transform.job(inputs, run.sequence, covers)
        await self.once(job, started, Happening("TransformStarted", "Transform", told, ""))

    async def once(self, job: Manifest, started: Started, happening: Happening) -> None:
        """Make a Job; that it exists already is no error."""
        meta = job["metadata"]
        try:
            made = await self._api.create(job)
        except ApiError as error:
            if error.status in REFUSED:
                started.refusals.append(Refusal(job, error.message))
                return
            if error.reason != "AlreadyExists":
                raise
            found = await self._api.get(CHILDREN["Job"], meta["namespace"], meta["name"])
            if found is not None:
                self._cache.put(found)  # else it is just gone, and that wakes the stack
        else:
            self._cache.put(made, ours=True)
            uid = made["metadata"]["uid"]
            told = Happening(happening.reason, happening.action, happening.note, uid, happening.type)
            started.happenings.append(told)
