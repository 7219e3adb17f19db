"""One reconcile of one stack: see the world, bring the children in line, commit the status, start what is due.

Level-triggered: nothing is carried from one pass to the next but memory that only saves calls. A pass may be cut off at
any line, or run twice at once; the next one sees what is there and goes on (see `forge_operator.transforms` for what
holds the transforms together).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from forge_stack.decisions import FinishedLoad, RunTransform, Wait, decide_transform
from forge_stack.model import ObservabilityStack, StackStatus, TransformStatus, explain
from forge_stack.status import Fact, assemble, observe_source, refused
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
    COMPONENT_LABEL,
    SOURCE_LABEL,
    STACK,
    Key,
    Manifest,
    api_name,
    controller_uid,
    label,
    load_name,
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
        spec, uid = stack.spec, stack.metadata.uid
        known = {status.name: status for status in stack.status.sources}
        sources = [
            loads.loads_of(world, source, world.get("CronJob", load_name(stack.metadata.name, source.name)))
            for source in spec.sources
        ]
        problems = {
            source.name: loads.secret_problem(source, world.secrets.get(source.secret_name or ""))
            for source in spec.sources
        }
        new = {each.source.name: each for each in sources if not each.succeeded_before(known.get(each.source.name))}
        asked = requests.parse(manifest, stack)
        waiting = asked.without(requests.started(world.jobs))
        held = frozenset(new) | {name for name, problem in problems.items() if problem is not None}
        held |= requests.holding(waiting, sources)
        inputs = build_inputs(stack, world, self._settings, held=held, service_monitors=self.service_monitors)

        plan = self._plan(inputs)
        outcomes = await self._applier.apply(key, uid, plan, lambda: builders.desired_children(inputs))
        self._tell(stack, outcome_happenings(outcomes, stack, world.now))
        await self._applier.prune(key, uid, plan)
        refusals = [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
        for refusal in refusals:
            if label(refusal.manifest, COMPONENT_LABEL) == builders.loads.COMPONENT:
                problems[label(refusal.manifest, SOURCE_LABEL)] = facts.refused_fact([refusal])

        store = facts.refused_fact(refusals, "store") or await self._store_fact(world, inputs)
        api = facts.refused_fact(refusals, builders.api.COMPONENT) or facts.api_fact(world, inputs)
        jobs = transforms.transform_jobs(world)
        finished = loads.finished_loads(sources, stack.status.transform)
        committed = transforms.commit_ended(world, stack, jobs, finished)
        running = transforms.running(jobs, world.pods)
        expected = [s.name for s in spec.sources if not s.suspend and problems[s.name] is None]
        decision = decide_transform(
            now=world.now,
            finished=finished,
            expected=expected,
            status=committed,
            running=bool(running),
            settings=spec.transform,
            generation=stack.metadata.generation,
            requested=bool(waiting.transforms) and store.holds is True,
        )
        started = Started()
        if not spec.suspend:
            await self._start_transform(inputs, world, decision, finished, committed, waiting, started)
            if store.holds is True:
                begun = await self._start_requested_loads(inputs, world, sources, problems, waiting, started)
                first = [each for name, each in new.items() if name not in begun]
                await self._start_first_loads(inputs, world, first, problems, started)
        self._tell(stack, [*started.happenings, *outcome_happenings(started.refusals, stack, world.now)])
        for refusal in started.refusals:
            if source_name := label(refusal.manifest, SOURCE_LABEL):
                problems[source_name] = facts.refused_fact([refusal])

        observed = [
            observe_source(loads.settled(known.get(each.source.name), seen.problem), seen, suspended=spec.suspend)
            for each in sources
            for seen in [loads.facts(world, each, known.get(each.source.name), problems[each.source.name])]
        ]
        status = assemble(
            stack=stack,
            now=world.now,
            store=store,
            sources=observed,
            transform=committed,
            transform_running=bool(running),
            transform_pending="no load has succeeded yet" if not finished else "the first transform is due",
            api=api,
            api_url=f"http://{api_name(inputs.name)}.{inputs.namespace}.svc",
            refused=facts.refused_conditions([*refusals, *started.refusals]),
        )
        if status != stack.status or "status" not in manifest:
            await self._commit(manifest, status)

        await self._tidy(world, jobs, committed, sources)
        self._tell(
            stack,
            [
                *spec_happenings(stack, no_monitors=not self.service_monitors, storage_stays=storage_unchanged(inputs)),
                *source_happenings(stack, status, sources),
                *transform_happenings(stack, status),
                *run_happenings(asked, world, sources),
            ],
        )
        await self._settle(manifest, asked, waiting.without(started.answered))
        looks = started.looks
        if spec.store.external is not None and store.holds is not True:
            looks.append(world.now + LOOK_FOR_STORE)
        if refusals or started.refusals:
            looks.append(world.now + TRY_AGAIN)
        return self._next_look(world.now, looks)

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
        """Write the status, and only over the version that this pass read."""
        meta = {name: manifest["metadata"][name] for name in ("name", "namespace", "uid", "resourceVersion")}
        body = {
            "apiVersion": STACK.api_version,
            "kind": STACK.kind,
            "metadata": meta,
            "spec": manifest["spec"],
            "status": status.model_dump(mode="json", by_alias=True, exclude_none=True),
        }
        self._stacks.put(await self._api.replace(STACK, body, "status"), ours=True)

    async def _start_transform(
        self,
        inputs: Inputs,
        world: World,
        decision: RunTransform | Wait,
        finished: Sequence[FinishedLoad],
        committed: TransformStatus,
        waiting: Requests,
        started: Started,
    ) -> None:
        """Before the status is written, so that it says when the Job was refused."""
        if isinstance(decision, Wait):
            started.looks.append(decision.until)
        elif committed != inputs.stack.status.transform:
            started.looks.append(world.now)  # the position that names the next Job is written first
        else:
            await self._starter.transform(inputs, decision, finished, waiting.transforms, started, world.now)

    async def _start_requested_loads(
        self,
        inputs: Inputs,
        world: World,
        sources: Sequence[loads.Loads],
        problems: Mapping[str, Fact | None],
        waiting: Requests,
        started: Started,
    ) -> set[str]:
        """Returns the sources whose load was started."""
        due = requests.due_loads(waiting, sources, problems)
        for request, source in due:
            await self._starter.load(inputs, source, request, started)
        if requests.unheld(waiting, sources, problems):
            started.looks.append(world.now + SOON)  # this pass held their CronJobs
        return {source.name for _, source in due}

    async def _start_first_loads(
        self,
        inputs: Inputs,
        world: World,
        new: Sequence[loads.Loads],
        problems: Mapping[str, Fact | None],
        started: Started,
    ) -> None:
        for each in new:
            if each.running or each.source.suspend or problems[each.source.name]:
                continue
            due, attempt = loads.first_load_due(world, each)
            if due <= world.now:
                told = f"the first load of {each.source.name} started" + (f", attempt {attempt}" if attempt > 1 else "")
                job = builders.loads.first_load(inputs, each.source, attempt)
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

    async def _tidy(
        self,
        world: World,
        jobs: list[tuple[int, Manifest]],
        committed: TransformStatus,
        sources: Sequence[loads.Loads],
    ) -> None:
        old = transforms.outdated(jobs, committed) + loads.of_removed_sources(world, [s.source.name for s in sources])
        for each in sources:
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
