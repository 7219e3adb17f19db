"""One reconcile of one stack: see the world, bring the children in line, commit the status, start what is due.

Level-triggered: nothing is carried from one pass to the next but memory that only saves calls. A pass may be cut off at
any line, or run twice at once; the next one sees what is there and goes on (see `forge_operator.transforms` for what
holds the transforms together).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from forge_stack.decisions import RunTransform, Wait
from forge_stack.model import ObservabilityStack, StackStatus, explain
from forge_stack.status import Fact, refused
from pydantic import ValidationError

from forge_operator import builders, facts, loads, requests, transforms
from forge_operator.api import Api, ApiError
from forge_operator.apply import Applier, Plan, Refusal
from forge_operator.builders import Inputs
from forge_operator.cache import Cache
from forge_operator.credentials import Credentials
from forge_operator.events import Happening, Recorder, subject_of
from forge_operator.inputs import build_inputs, storage_unchanged
from forge_operator.names import (
    CHILDREN,
    CLASS_LABEL,
    STACK,
    Key,
    Manifest,
    controller_uid,
    label,
    store_secret,
)
from forge_operator.probe import Prober
from forge_operator.requests import Requests
from forge_operator.settings import Settings
from forge_operator.stacks import Stacks, status_of
from forge_operator.start import SOON, Started, Starter
from forge_operator.story import (
    outcome_happenings,
    run_happenings,
    source_happenings,
    spec_happenings,
    transform_happenings,
)
from forge_operator.survey import Survey, survey
from forge_operator.world import World, made_secrets, read_secrets, see

LOOK_FOR_STORE = timedelta(seconds=15)
"""How soon an external store is asked again."""
TRY_AGAIN = timedelta(seconds=30)
"""How soon a refused child is tried again; what refuses it is not watched."""


class Reconciler:
    """Reconciles stacks by key."""

    def __init__(
        self, api: Api, settings: Settings, stacks: Stacks, cache: Cache, credentials: Credentials, recorder: Recorder
    ) -> None:
        self._api = api
        self._settings = settings
        self._stacks = stacks
        self._cache = cache
        self._credentials = credentials
        self._recorder = recorder
        self._applier = Applier(api, cache)
        self._starter = Starter(api, cache, stacks)
        self._prober = Prober()
        self._uids: dict[Key, str] = {}
        self._plans: dict[str, tuple[object, Plan]] = {}
        self.service_monitors = False
        """Whether the cluster has the Prometheus operator's ServiceMonitor."""

    async def reconcile(self, key: Key) -> float | None:
        """Bring one stack in line. Returns the seconds until it needs another look without an event."""
        manifest = self._stacks.get(key)
        if manifest is None or manifest["metadata"].get("deletionTimestamp"):
            self._forget(key)  # its children go by their owner references
            return None
        if label(manifest, CLASS_LABEL) != self._settings.operator_class:
            self._forget(key)  # another operator's
            return None
        if self._uids.setdefault(key, manifest["metadata"]["uid"]) != manifest["metadata"]["uid"]:
            self._forget(key)
            self._uids[key] = manifest["metadata"]["uid"]
        try:
            stack = self._stacks.parse(manifest)
        except ValidationError as error:
            return await self._refuse(manifest, explain(error))
        try:
            found = await self._make_secrets(stack, await read_secrets(self._credentials, stack, key))
            world = see(stack.metadata.uid, self._cache.of(key), found, self._api.now())
            return await self._bring_in_line(key, stack, manifest, world)
        except ApiError as error:
            if error.terminating:
                return None  # the stack is about to go with its namespace
            # An old version was read: the newest is read before the next try, and a stack that is gone needs none.
            if error.status in (404, 409) and not await self._read_again(key):
                return None
            raise

    async def _bring_in_line(self, key: Key, stack: ObservabilityStack, manifest: Manifest, world: World) -> float:
        found = survey(stack, manifest, world)
        inputs = build_inputs(stack, world, self._settings, held=found.held, service_monitors=self.service_monitors)
        refusals = await self._apply(key, inputs, found)
        store = facts.refused_fact(refusals, "store") or await self._store_fact(world, inputs)
        api = facts.refused_fact(refusals, builders.api.COMPONENT) or facts.api_fact(world, inputs)
        started = Started() if stack.spec.suspend else await self._start(inputs, found, store)
        refusals += started.refusals

        status = found.status(store, api, refusals)
        if status != stack.status or "status" not in manifest:
            await self._commit(manifest, status)
        await self._tidy(found)
        self._tell(
            stack,
            [
                *spec_happenings(stack, no_monitors=not self.service_monitors, storage_stays=storage_unchanged(inputs)),
                *source_happenings(stack, status, found.sources),
                *transform_happenings(stack, status),
                *run_happenings(found.asked, world, found.sources),
            ],
        )
        await self._settle(manifest, found.asked, found.waiting.without(started.answered))
        looks = started.looks
        if stack.spec.store.external is not None and store.holds is not True:
            looks.append(world.now + LOOK_FOR_STORE)
        if refusals:
            looks.append(world.now + TRY_AGAIN)
        return self._next_look(world.now, looks)

    async def _apply(self, key: Key, inputs: Inputs, found: Survey) -> list[Refusal]:
        """Bring the children in line, take away those that are no longer wanted. Returns those that were refused."""
        stack = found.stack
        plan = self._plan(inputs)
        outcomes = await self._applier.apply(key, stack.metadata.uid, plan, lambda: builders.desired_children(inputs))
        self._tell(stack, outcome_happenings(outcomes, stack, found.world.now))
        await self._applier.prune(key, stack.metadata.uid, plan)
        refusals = [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
        found.refuse(refusals)
        return refusals

    async def _start(self, inputs: Inputs, found: Survey, store: Fact) -> Started:
        """Make the Jobs that are due: before the status is written, so that it says which were refused."""
        started = Started()
        await self._start_transform(inputs, found, found.next_transform(store), started)
        if store.holds is True:
            begun = await self._start_requested_loads(inputs, found, started)
            await self._start_first_loads(inputs, found, begun, started)
        self._tell(
            found.stack, [*started.happenings, *outcome_happenings(started.refusals, found.stack, found.world.now)]
        )
        found.refuse(started.refusals)
        return started

    def _tell(self, stack: ObservabilityStack, happenings: Iterable[Happening]) -> None:
        """What was done is told as soon as it was done: the pass may still be cut off."""
        for happening in happenings:
            self._recorder.tell(*subject_of(stack), happening)

    def _next_look(self, now: datetime, looks: Sequence[datetime | None]) -> float:
        waits = [max((look - now).total_seconds(), 0.0) for look in looks if look is not None]
        spread = self._settings.resync * (0.8 + secrets.randbelow(400) / 1000)
        return min([*waits, spread])

    def _plan(self, inputs: Inputs) -> Plan:
        """What the children should be; built anew when what they depend on changed."""
        stack = inputs.stack
        uid = stack.metadata.uid
        # Of the stack, the builders read its metadata and its spec, which the generation stands for.
        depends = (stack.metadata.generation, replace(inputs, stack=None))  # type: ignore[arg-type]
        known = self._plans.get(uid)
        if known is None or known[0] != depends:
            known = self._plans[uid] = (depends, Plan(builders.desired_children(inputs)))
        return known[1]

    async def _make_secrets(self, stack: ObservabilityStack, found: dict[str, Manifest]) -> dict[str, Manifest]:
        """Make the Secrets that are made once; what exists is never changed."""
        inputs = Inputs(stack=stack, settings=self._settings, store_secret="")
        key, uid = (inputs.namespace, inputs.name), stack.metadata.uid
        for name in sorted(made_secrets(stack)):
            if name not in found:
                if name == store_secret(inputs.name):
                    made = builders.store.auth_secret(inputs, secrets.token_urlsafe(32), secrets.token_urlsafe(32))
                else:
                    made = builders.api.made_token(inputs, secrets.token_urlsafe(32))
                found[name] = self._credentials.made(await self._make_secret(made), key)
            if controller_uid(found[name]) not in ("", uid):
                raise ApiError(409, "AlreadyExists", f"the Secret {name} is an earlier stack's, which is about to go")
        return found

    async def _make_secret(self, manifest: Manifest) -> Manifest:
        """Make a Secret; one of that name that nobody owns (somebody brought it back) is used as it is."""
        try:
            return await self._api.create(manifest)
        except ApiError as error:
            meta = manifest["metadata"]
            if error.reason != "AlreadyExists":
                raise
            live = await self._api.get(CHILDREN["Secret"], meta["namespace"], meta["name"])
            if live is None:
                raise
            return live

    async def _store_fact(self, world: World, inputs: Inputs) -> Fact:
        managed = inputs.stack.spec.store.managed
        if managed is not None:
            return facts.managed_store_fact(world, inputs, managed.replicas)
        dsn = facts.external_dsn(world, inputs)
        return dsn if isinstance(dsn, Fact) else await self._prober.ask(dsn)

    async def _commit(self, manifest: Manifest, status: StackStatus) -> None:
        """Write the status, and only over the version that this pass read. The whole of it is sent: of a label or an
        annotation that is missing here the API server forgets whose it is, although it keeps it."""
        body = {**manifest, "status": status.model_dump(mode="json", by_alias=True, exclude_none=True)}
        self._stacks.put(await self._api.replace(STACK, body, "status"), ours=True)

    async def _start_transform(
        self, inputs: Inputs, found: Survey, decision: RunTransform | Wait, started: Started
    ) -> None:
        now = found.world.now
        if isinstance(decision, Wait):
            started.looks.append(decision.until)
        elif found.committed != found.stack.status.transform:
            started.looks.append(now)  # the position that names the next Job is written first
        else:
            asked = found.waiting.transforms
            await self._starter.transform(inputs, decision, found.finished, asked, started, now)

    async def _start_requested_loads(self, inputs: Inputs, found: Survey, started: Started) -> set[str]:
        """Returns the sources whose load was started."""
        due = requests.due_loads(found.waiting, found.sources, found.problems)
        for request, source in due:
            await self._starter.load(inputs, source, request, started)
        if requests.unheld(found.waiting, found.sources, found.problems):
            started.looks.append(found.world.now + SOON)  # this pass held their CronJobs
        return {source.name for _, source in due}

    async def _start_first_loads(self, inputs: Inputs, found: Survey, begun: set[str], started: Started) -> None:
        for each in found.new:
            source = each.source
            if source.name in begun or each.running or source.suspend or found.problems[source.name]:
                continue
            due, attempt = loads.first_load_due(found.world, each)
            if due <= found.world.now:
                told = f"the first load of {source.name} started" + (f", attempt {attempt}" if attempt > 1 else "")
                job = builders.loads.first_load(inputs, source, attempt)
                await self._starter.once(job, started, Happening("FirstLoadStarted", "Load", told, ""))
            else:
                started.looks.append(due)

    async def _settle(self, manifest: Manifest, asked: Requests, rest: Requests) -> None:
        """Take the requests that have a Job, or are refused, out of the annotation."""
        if not (operations := requests.settle(asked, rest)):
            return
        try:
            self._stacks.put(await self._api.patch(manifest, operations, STACK), ours=True)
        except ApiError as error:
            if error.status not in (404, 422):
                raise  # else somebody wrote it anew meanwhile, and that wakes the stack

    async def _tidy(self, found: Survey) -> None:
        """Delete Jobs that need not be kept."""
        names = [each.source.name for each in found.sources]
        old = transforms.outdated(found.jobs, found.committed) + loads.of_removed_sources(found.world, names)
        for each in found.sources:
            old += loads.outdated_first_loads(each)
        for job in old:
            await self._api.delete(job)

    async def _refuse(self, manifest: Manifest, lines: list[str]) -> float:
        """The spec cannot be read: say so, leave the children as they are."""
        meta = manifest["metadata"]
        known = status_of(manifest)
        told = "; ".join(lines)
        status = refused(known, generation=meta.get("generation", 0), now=self._api.now(), message=told)
        if status != known:
            await self._commit(manifest, status)
        happening = Happening("SpecRefused", "Validate", told, str(meta.get("generation", 0)), "Warning")
        self._recorder.tell(meta["namespace"], meta["name"], meta["uid"], happening)
        return self._settings.resync

    async def _read_again(self, key: Key) -> bool:
        """Whether the stack is still there; the newest version is known then."""
        live = await self._api.get(STACK, *key)
        if live is None:
            self._stacks.drop(key)
        else:
            self._stacks.put(live)
        return live is not None

    def _forget(self, key: Key) -> None:
        self._credentials.forget(key)
        uid = self._uids.pop(key, None)
        if uid is not None:
            self._applier.forget(uid)
            self._plans.pop(uid, None)
