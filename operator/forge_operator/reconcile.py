"""One reconcile of one stack: read the world, bring the children in line, commit the status, start what is due.

Level-triggered: nothing is carried from one pass to the next but memory that only saves calls. A pass may be cut off at
any line, or run twice at once; the next one reads what is there and goes on (see `forge_operator.transforms` for what
holds the transforms together).
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from forge_stack.decisions import FinishedLoad, RunTransform, Wait, decide_transform
from forge_stack.model import ObservabilityStack, StackStatus, TransformStatus, explain
from forge_stack.status import Fact, assemble, observe_source, refused
from kubernetes.utils.quantity import parse_quantity
from pydantic import ValidationError

from forge_operator import builders, loads, transforms
from forge_operator.api import Api, ApiError
from forge_operator.apply import REFUSED, Applier, Refusal
from forge_operator.builders import Inputs
from forge_operator.events import Happening, Recorder, subject_of
from forge_operator.names import (
    CHILDREN,
    CLASS_LABEL,
    COMPONENT_LABEL,
    SERVICE_MONITOR,
    SOURCE_LABEL,
    STACK,
    Key,
    Manifest,
    api_name,
    controller_uid,
    label,
    load_name,
    store_name,
    store_secret,
)
from forge_operator.observe import deployment_fact, stateful_set_fact
from forge_operator.probe import Prober
from forge_operator.settings import Settings
from forge_operator.story import outcome_happenings, source_happenings, transform_happenings
from forge_operator.world import World, fingerprint, read_stack, read_world, secret_value

logger = logging.getLogger(__name__)

LOOK_FOR_SECRET = timedelta(seconds=15)
"""How soon a missing Secret is looked for again; Secrets of others are not watched."""
LOOK_FOR_STORE = timedelta(seconds=15)
"""How soon an external store is asked again."""
TRY_AGAIN = timedelta(seconds=30)
"""How soon a refused child is tried again; what refuses it is not watched."""


@dataclass
class Started:
    """What one pass started: what to tell of it, what was refused, and when to look again for what was not due."""

    happenings: list[Happening] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    looks: list[datetime | None] = field(default_factory=list)


class Reconciler:
    """Reconciles stacks by key."""

    def __init__(self, api: Api, settings: Settings) -> None:
        self._api = api
        self._settings = settings
        self._applier = Applier(api)
        self._recorder = Recorder(api, settings.identity)
        self._prober = Prober()
        self._uids: dict[Key, str] = {}
        self._service_monitors: tuple[float, bool] = (0.0, False)

    async def reconcile(self, key: Key) -> float | None:
        """Bring one stack in line. Returns the seconds until it needs another look without an event."""
        manifest = await read_stack(self._api, key)
        if manifest is None or manifest["metadata"].get("deletionTimestamp"):
            self._forget(key)  # its children go by their owner references
            return None
        if label(manifest, CLASS_LABEL) != self._settings.operator_class:
            self._forget(key)  # another operator's
            return None
        self._uids[key] = manifest["metadata"]["uid"]
        try:
            stack = _parse(manifest)
        except ValidationError as error:
            return await self._refuse(manifest, explain(error))
        try:
            world = await read_world(self._api, stack, service_monitors=await self._has_service_monitors())
        except ApiError as error:
            if error.status == 404:  # a kind is gone: somebody uninstalled the Prometheus operator
                self._service_monitors = (0.0, False)
            raise
        world = await self._make_secrets(stack, world)
        return await self._bring_in_line(stack, manifest, world)

    async def _bring_in_line(self, stack: ObservabilityStack, manifest: Manifest, world: World) -> float:
        spec = stack.spec
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
        held = frozenset(new) | {name for name, problem in problems.items() if problem is not None}
        inputs = build_inputs(stack, world, self._settings, held=held, service_monitors=self._service_monitors[1])

        desired = builders.desired_children(inputs)
        outcomes = await self._applier.apply(stack.metadata.uid, desired, world)
        await self._applier.prune(desired, world)
        refusals = [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
        for refusal in refusals:
            if label(refusal.manifest, COMPONENT_LABEL) == builders.loads.COMPONENT:
                problems[label(refusal.manifest, SOURCE_LABEL)] = refused_fact([refusal])

        store = refused_fact(refusals, "store") or await self._store_fact(stack, world, inputs)
        api = refused_fact(refusals, builders.api.COMPONENT) or self._api_fact(stack, world, inputs)
        jobs = transforms.transform_jobs(world)
        finished = loads.finished_loads(sources, stack.status.transform.covered)
        committed = transforms.commit_ended(world, stack, jobs, finished)
        running = transforms.running(jobs)
        expected = [s.name for s in spec.sources if not s.suspend and problems[s.name] is None]
        decision = decide_transform(
            now=world.now,
            finished=finished,
            expected=expected,
            status=committed,
            running=bool(running),
            settings=spec.transform,
        )
        started = await self._start_due(
            inputs,
            world,
            decision,
            finished,
            committed,
            [] if store.holds is not True else list(new.values()),
            problems,
        )
        outcomes += started.refusals
        for refusal in started.refusals:
            if source_name := label(refusal.manifest, SOURCE_LABEL):
                problems[source_name] = refused_fact([refusal])

        observed = [
            observe_source(
                loads.settled(known.get(each.source.name), facts.problem),
                facts,
                suspended=spec.suspend,
            )
            for each in sources
            for facts in [loads.facts(world, each, known.get(each.source.name), problems[each.source.name])]
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
            api_url=f"http://{api_name(stack.metadata.name)}.{stack.metadata.namespace}.svc",
            refused=refused_conditions([*refusals, *started.refusals]),
        )
        await self._commit(stack, manifest, status)

        looks = started.looks
        happenings = started.happenings + list(outcome_happenings(outcomes, stack, world.now))
        if spec.monitoring.service_monitor and not inputs.service_monitors:
            happenings.append(_no_service_monitors(stack))
        if storage_unchanged(inputs):
            happenings.append(_storage_unchanged(stack))
        await self._tidy(world, jobs, committed, sources)
        happenings += source_happenings(stack, status, sources)
        happenings += transform_happenings(stack, status)
        for happening in happenings:
            await self._recorder.tell(*subject_of(stack), happening)
        if any(problems.values()) or store.reason in ("SecretMissing", "SecretKeyMissing") or "Secret" in api.reason:
            looks.append(world.now + LOOK_FOR_SECRET)
        if spec.store.external is not None and store.holds is not True:
            looks.append(world.now + LOOK_FOR_STORE)
        if refusals or started.refusals:
            looks.append(world.now + TRY_AGAIN)
        return self._next_look(world.now, looks)

    def _next_look(self, now: datetime, looks: Sequence[datetime | None]) -> float:
        waits = [max((look - now).total_seconds(), 0.2) for look in looks if look is not None]
        spread = self._settings.resync * (0.8 + secrets.randbelow(400) / 1000)
        return min([*waits, spread])

    async def _make_secrets(self, stack: ObservabilityStack, world: World) -> World:
        """Make the Secrets that are made once; what exists is never changed."""
        inputs = Inputs(stack=stack, settings=self._settings, store_secret="")
        made = []
        if stack.spec.store.managed is not None and world.get("Secret", store_secret(inputs.name)) is None:
            made.append(builders.store.auth_secret(inputs, secrets.token_urlsafe(32), secrets.token_urlsafe(32)))
        auth = stack.spec.api.auth
        if auth.mode == "Token" and auth.token_secret_ref is None:
            manifest = builders.api.made_token(inputs, secrets.token_urlsafe(32))
            if world.get("Secret", manifest["metadata"]["name"]) is None:
                made.append(manifest)
        children = dict(world.children)
        for manifest in made:
            children["Secret", manifest["metadata"]["name"]] = await self._make_secret(manifest)
        return replace(world, children=children)

    async def _make_secret(self, manifest: Manifest) -> Manifest:
        """Make a Secret; one of that name that nobody owns (somebody brought it back) is used as it is."""
        try:
            return await self._api.create(manifest)
        except ApiError as error:
            meta = manifest["metadata"]
            live = await self._api.get(CHILDREN["Secret"], meta["namespace"], meta["name"])
            if error.reason != "AlreadyExists" or live is None or controller_uid(live):
                raise  # an earlier stack's is about to go
            return live

    async def _store_fact(self, stack: ObservabilityStack, world: World, inputs: Inputs) -> Fact:
        managed = stack.spec.store.managed
        if managed is not None:
            secret = world.get("Secret", inputs.store_secret)
            missing = [key for key in builders.store.SECRET_KEYS if secret_value(secret, key) is None]
            if missing:
                told = f"the Secret {inputs.store_secret} lacks {', '.join(missing)}; restore it, or delete it: "
                return Fact(False, "SecretKeyMissing", told + "a new one is made and the store restarts with it")
            live = world.get("StatefulSet", store_name(inputs.name))
            return stateful_set_fact(live, world.pods_of(live) if live else [], managed.replicas)
        secret = world.secrets.get(inputs.store_secret)
        if secret is None:
            told = f"the Secret {inputs.store_secret} does not exist; make it with the key {inputs.dsn_key}"
            return Fact(False, "SecretMissing", told)
        dsn = secret_value(secret, inputs.dsn_key)
        if dsn is None:
            told = (
                f"the Secret {inputs.store_secret} has no key {inputs.dsn_key}; it needs http://user:password@host:8123"
            )
            return Fact(False, "SecretKeyMissing", told)
        return await self._prober.ask(dsn)

    def _api_fact(self, stack: ObservabilityStack, world: World, inputs: Inputs) -> Fact:
        ref = stack.spec.api.auth.token_secret_ref
        if stack.spec.api.auth.mode == "Token" and ref is not None:
            if ref.name not in world.secrets:
                return Fact(False, "SecretMissing", f"the Secret {ref.name} does not exist; make it with the key token")
            if secret_value(world.secrets[ref.name], "token") is None:
                return Fact(False, "SecretKeyMissing", f"the Secret {ref.name} has no key token")
        live = world.get("Deployment", api_name(inputs.name))
        # The Deployment's pods are its ReplicaSet's, so that they are found by their component.
        pods = [pod for pod in world.pods if label(pod, COMPONENT_LABEL) == builders.api.COMPONENT]
        return deployment_fact(live, pods, stack.spec.api.replicas)

    async def _commit(self, stack: ObservabilityStack, manifest: Manifest, status: StackStatus) -> None:
        """Write the status when it changed, and only over the version that this pass read."""
        if status == stack.status and "status" in manifest:
            return
        body = {**manifest, "status": status.model_dump(mode="json", by_alias=True, exclude_none=True)}
        await self._api.replace(STACK, body, "status")

    async def _start_due(
        self,
        inputs: Inputs,
        world: World,
        decision: RunTransform | Wait,
        finished: Sequence[FinishedLoad],
        committed: TransformStatus,
        new: Sequence[loads.Loads],
        problems: Mapping[str, Fact | None],
    ) -> Started:
        """Create the Jobs that are due: before the status is written, so that it says which were refused."""
        started = Started()
        if inputs.stack.spec.suspend:
            return started
        if isinstance(decision, Wait):
            started.looks.append(decision.until)
        elif committed != inputs.stack.status.transform:
            started.looks.append(world.now)  # the position that names the next Job is written first
        else:
            covers = [load for load in finished if load.uid in decision.uids]
            told = f"transform {decision.sequence} started for {len(covers)} load(s) of {', '.join(decision.sources)}"
            # When another pass was first, its batch stands in its Job; what is not in it waits for the next.
            job = builders.transform.job(inputs, decision.sequence, covers)
            await self._create_once(job, started, "TransformStarted", "Transform", told)
        for each in new:
            if each.active or each.source.suspend or problems[each.source.name]:
                continue
            due, attempt = loads.first_load_due(world, each)
            if due <= world.now:
                told = f"the first load of {each.source.name} started" + (f", attempt {attempt}" if attempt > 1 else "")
                job = builders.loads.first_load(inputs, each.source, attempt)
                await self._create_once(job, started, "FirstLoadStarted", "Load", told)
            else:
                started.looks.append(due)
        return started

    async def _create_once(self, job: Manifest, started: Started, reason: str, action: str, told: str) -> None:
        """Create a Job whose name is its lock: that it exists already is no error."""
        try:
            made = await self._api.create(job)
        except ApiError as error:
            if error.status in REFUSED:
                started.refusals.append(Refusal(job, error.message))
            elif error.reason != "AlreadyExists":
                raise
        else:
            started.happenings.append(Happening(reason, action, told, made["metadata"]["uid"]))

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
        try:
            known = StackStatus.model_validate(manifest.get("status", {}))
        except ValidationError:
            known = StackStatus()
        told = "; ".join(lines)
        status = refused(known, generation=meta.get("generation", 0), now=datetime.now().astimezone(), message=told)
        if status != known:
            body = {**manifest, "status": status.model_dump(mode="json", by_alias=True, exclude_none=True)}
            await self._api.replace(STACK, body, "status")
        happening = Happening("SpecRefused", "Validate", told, str(meta.get("generation", 0)), "Warning")
        await self._recorder.tell(meta["namespace"], meta["name"], meta["uid"], happening)
        return self._settings.resync

    async def _has_service_monitors(self) -> bool:
        asked, answer = self._service_monitors
        if not asked or (not answer and time.monotonic() - asked > self._settings.resync):
            answer = await self._api.serves(SERVICE_MONITOR)
            self._service_monitors = (time.monotonic(), answer)
        return answer

    def _forget(self, key: Key) -> None:
        uid = self._uids.pop(key, None)
        if uid is not None:
            self._applier.forget(uid)


def _parse(manifest: Manifest) -> ObservabilityStack:
    """The stack; a status that cannot be read is none (it is computed anew), a spec that cannot be read is an error."""
    try:
        status = StackStatus.model_validate(manifest.get("status", {}))
    except ValidationError:
        status = StackStatus()
    spec_only = {name: value for name, value in manifest.items() if name != "status"}
    return ObservabilityStack.parse(spec_only).model_copy(update={"status": status})


def refused_fact(refusals: Sequence[Refusal], component: str = "") -> Fact | None:
    """What the refused children of a component mean for it; None when none was refused."""
    for refusal in refusals:
        if not component or label(refusal.manifest, COMPONENT_LABEL) == component:
            kind, name = refusal.manifest["kind"], refusal.manifest["metadata"]["name"]
            return Fact(False, "ApplyRefused", f"the API server refused {kind} {name}: {refusal.message}")
    return None


def refused_conditions(refusals: Sequence[Refusal]) -> dict[str, Fact]:
    """The conditions that refused children make false, of those that are not a source's, the store's or the API's."""
    said_elsewhere = {"store", builders.api.COMPONENT, builders.loads.COMPONENT}
    found: dict[str, Fact] = {}
    for refusal in refusals:
        component = label(refusal.manifest, COMPONENT_LABEL)
        fact = refused_fact([refusal])
        if component not in said_elsewhere and fact is not None:
            found.setdefault("Transformed" if component == builders.transform.COMPONENT else "SpecAccepted", fact)
    return found


def _no_service_monitors(stack: ObservabilityStack) -> Happening:
    told = "monitoring.serviceMonitor is true, but the cluster has no ServiceMonitor; install the Prometheus operator"
    return Happening("ServiceMonitorUnavailable", "Apply", told, str(stack.metadata.generation), "Warning")


def storage_unchanged(inputs: Inputs) -> bool:
    """Whether the stack asks for another volume than the one that the live StatefulSet makes."""
    managed = inputs.stack.spec.store.managed
    if managed is None or inputs.claim_templates is None:
        return False
    wanted = builders.store.claim_templates(replace(inputs, claim_templates=None), managed)[0]["spec"]
    live = inputs.claim_templates[0]["spec"]
    same_class = wanted.get("storageClassName") in (None, live.get("storageClassName"))
    # The API server writes 1024Mi as 1Gi.
    sizes = {parse_quantity(claim["resources"]["requests"]["storage"]) for claim in (wanted, live)}  # type: ignore[no-untyped-call]
    return len(sizes) > 1 or not same_class


def _storage_unchanged(stack: ObservabilityStack) -> Happening:
    told = (
        "store.managed.storage differs from the volume claim that exists, which stays as it is; grow the "
        "PersistentVolumeClaim by hand where its StorageClass can, or copy the data into a new stack"
    )
    return Happening("StorageUnchanged", "Apply", told, str(stack.metadata.generation), "Warning")


def build_inputs(
    stack: ObservabilityStack, world: World, settings: Settings, *, held: frozenset[str], service_monitors: bool
) -> Inputs:
    """What the builders need of the world."""
    name, spec = stack.metadata.name, stack.spec
    claim_templates = None
    dsn_key, reader_key, store_hash = "dsn", "reader-dsn", ""
    if spec.store.external is None:
        secret_name = store_secret(name)
        secret = world.get("Secret", secret_name)
        store_hash = fingerprint(*(secret_value(secret, key) for key in ("writer-sha256", "reader-sha256")))
        live = world.get("StatefulSet", store_name(name))
        if live is not None:
            claim_templates = [_claim(template) for template in live["spec"]["volumeClaimTemplates"]]
    else:
        secret_name, dsn_key = spec.store.external.dsn_secret_ref.name, spec.store.external.dsn_secret_ref.key
        secret = world.secrets.get(secret_name)
        if secret_value(secret, reader_key) is None:
            reader_key = dsn_key
    inputs = Inputs(
        stack=stack,
        settings=settings,
        store_secret=secret_name,
        dsn_key=dsn_key,
        reader_key=reader_key,
        store_hash=store_hash,
        held=held,
        claim_templates=claim_templates,
        service_monitors=service_monitors,
    )
    token_name = builders.api.token_name(inputs)
    token = world.secrets.get(token_name) or world.get("Secret", token_name)
    api_hash = fingerprint(secret_value(secret, reader_key), secret_value(token, "token"))
    return replace(inputs, api_hash=api_hash)


def _claim(template: Manifest) -> Manifest:
    """A live claim template without what the API server filled in."""
    spec = {name: value for name, value in template["spec"].items() if name != "volumeMode"}
    meta = {name: template["metadata"][name] for name in ("name", "labels") if name in template["metadata"]}
    return {"metadata": meta, "spec": spec}
