"""The operator beside hundreds of stacks: a real API server, played nodes (tests/cluster/plane.py)."""

from __future__ import annotations

import asyncio
import functools
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from forge_operator import builders
from forge_operator.events import Happening, event, subject_of
from forge_operator.names import (
    CHILDREN,
    COMPONENT_LABEL,
    EVENT,
    STACK,
    Kind,
    Manifest,
    api_name,
    kind_of,
    load_name,
    store_secret,
)
from forge_operator.settings import IMAGES, Settings
from forge_stack.decisions import FinishedLoad
from forge_stack.model import ObservabilityStack

from bench.kube import APPLY, Client, Watch
from bench.programs import BIN
from bench.result import Benchmark, Result

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "cluster"))

from plane import Plane

OPERATOR = "forge-operator"
ACCOUNT = f"system:serviceaccount:default:{OPERATOR}"
NAMESPACES = 20
CREATORS = 50
"""Stacks that a user's client creates at once."""
NEVER = "0 0 1 1 *"
SOURCES: dict[str, dict[str, Any]] = {
    "langfuse": {"url": "http://langfuse:3000", "credentialsSecretRef": {"name": "langfuse"}},
    "github": {"repositories": ["acme/shop"], "credentialsSecretRef": {"name": "github"}},
    "jira": {"url": "http://jira:8080", "projects": ["SHOP"], "credentialsSecretRef": {"name": "jira"}},
    "prometheus": {"url": "http://prometheus:9090"},
}
SECRETS = {
    "langfuse": {"publicKey": "p", "secretKey": "s"},
    "github": {"token": "t"},
    "jira": {"email": "e", "token": "t"},
}
FOREIGN_BYTES = 2048
BUSY = 0.2
"""The share of a core above which the operator is not at rest."""
SETTINGS = Settings(images={name: f"forge.test/{name}:none" for name in IMAGES}, namespace="kube-system")


@dataclass(frozen=True)
class Scale:
    """How much of everything. Times are seconds."""

    stacks: int = 500
    samples: int = 100
    foreign: int = 5000
    rest: float = 60.0
    resync: float = 60.0
    quiet: float = 5.0
    limit: float = 900.0


@dataclass(frozen=True)
class Ramp:
    """From nothing to all stacks Ready. Memory is the operator's peak, in MiB; `processor` its seconds of a core."""

    stacks: int
    seconds: float
    memory: float
    processor: float
    writes: int
    status: Manifest

    @property
    def note(self) -> str:
        """In words."""
        return (
            f"{self.writes / self.stacks:.1f} writes and {self.processor / self.stacks * 1000:.0f} ms of a core a stack"
        )


@dataclass(frozen=True)
class Rest:
    """A while in which nothing happened."""

    seconds: float
    processor: float
    writes: Counter[str]

    @property
    def share(self) -> float:
        """Of a core, in percent."""
        return 100 * self.processor / self.seconds

    @property
    def leases(self) -> int:
        """Writes of the Lease, by which the operator leads."""
        return self.writes["leases"]

    @property
    def others(self) -> int:
        """All other writes."""
        return self.writes.total() - self.leases


@dataclass(frozen=True)
class Measured:
    """What one run found; latencies are lists of seconds."""

    scale: Scale
    ramp: Ramp
    rest_memory: float
    rest: Rest
    foreign_memory: float
    edits: tuple[float, ...]
    changed: tuple[float, ...]
    deleted: tuple[float, ...]
    transforms: tuple[float, ...]
    lease_seconds: float
    restart_seconds: float
    restart: Counter[str]
    idle: Rest


class Operator:
    """The operator as a process of its own, leading by its Lease."""

    def __init__(self, plane: Plane, folder: Path) -> None:
        self.plane = plane
        self._kubeconfig = plane.account(OPERATOR)
        self._log = folder / "operator.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.started, self._position, self._port = 0.0, 0, 0

    def start(self, resync: float | None = None) -> None:
        """Start it; by default it resyncs as often as it does by itself."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
            **{f"FORGE_IMAGE_{name.upper()}": image for name, image in SETTINGS.images.items()},
            "KUBECONFIG": str(self._kubeconfig),
            "FORGE_OPERATOR_NAMESPACE": SETTINGS.namespace,
            "FORGE_LEADER_ELECTION": "true",
            "FORGE_HEALTH_PORT": str(self._port),
            **({"FORGE_RESYNC_SECONDS": f"{resync:g}"} if resync else {}),
        }
        with self._log.open("ab") as log:
            self._position, self.started = self.plane.audit_position(), time.monotonic()
            self._process = subprocess.Popen([str(BIN / OPERATOR)], env=environment, stdout=log, stderr=log)

    def end(self, how: signal.Signals) -> None:
        """End it, if it runs; by SIGTERM it gives its Lease back."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def check(self) -> None:
        """Raises RuntimeError when it does not run."""
        code = self._process.poll() if self._process is not None else 0
        if code is not None:
            raise RuntimeError(f"the operator ended with {code}:\n{self._log.read_text()[-2000:]}")

    def looks(self) -> int:
        """How many times it has looked at a stack since it started."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        return sum(
            int(float(count)) for count in re.findall(r"^forge_operator_reconcile_seconds_count.* (\S+)$", text, re.M)
        )

    def processor(self) -> float:
        """Seconds of a core that it has used."""
        fields = self._proc("stat").rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self, which: str = "VmRSS") -> float:
        """Its resident memory, or the most it had (VmHWM), in MiB."""
        return int(self._proc("status").split(f"{which}:")[1].split()[0]) / 1024

    def _proc(self, file: str) -> str:
        self.check()
        assert self._process
        return Path(f"/proc/{self._process.pid}/{file}").read_text()

    def writes(self, since: int) -> Counter[str]:
        """Its writes since a position of the audit log, by resource; also those that were refused."""
        return Counter(_resource(entry) for entry in self.plane.writes(ACCOUNT, since))

    async def leads(self, scale: Scale) -> float:
        """Wait until it holds the Lease. Gives how many seconds after its start it was seen to."""
        while time.monotonic() - self.started < scale.limit:
            self.check()
            if self.writes(self._position)["leases"]:
                return time.monotonic() - self.started
            await asyncio.sleep(0.1)
        raise RuntimeError(f"the operator does not lead within {scale.limit:.0f} s")

    async def at_rest(self, scale: Scale) -> float:
        """Wait until it did nothing for a while: no request but watches and the Lease, no work. Gives when it began."""
        last = begun = time.monotonic()
        position, used = self.plane.audit_position(), self.processor()
        while time.monotonic() - last < scale.quiet:
            if last - begun > scale.limit:
                raise RuntimeError(f"the operator does not come to rest within {scale.limit:.0f} s")
            await asyncio.sleep(0.5)
            end, used_now, now = self.plane.audit_position(), self.processor(), time.monotonic()
            asked = any(_is_work(entry) for entry in self.plane.audit(position))
            if asked or used_now - used > BUSY * 0.5:
                last = now
            position, used = end, used_now
        return last

    async def rest(self, seconds: float) -> Rest:
        """What it does in so many seconds."""
        position, used, begun = self.plane.audit_position(), self.processor(), time.monotonic()
        await asyncio.sleep(seconds)
        return Rest(time.monotonic() - begun, self.processor() - used, self.writes(position))


def _is_work(entry: Manifest) -> bool:
    return entry["user"]["username"] == ACCOUNT and entry["verb"] != "watch" and _resource(entry) != "leases"


def _resource(entry: Manifest) -> str:
    reference = entry.get("objectRef", {})
    return "/".join(part for part in (reference.get("resource", ""), reference.get("subresource", "")) if part)


# Stacks


def stack(namespace: str, name: str) -> Manifest:
    """A stack of four sources whose schedules never fire while it is measured."""
    sources = [{"name": kind, kind: spec, "schedule": NEVER} for kind, spec in SOURCES.items()]
    return {
        "apiVersion": STACK.api_version,
        "kind": STACK.kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"store": {"managed": {"storage": {"size": "1Gi"}}}, "sources": sources},
    }


def stacks(count: int) -> list[Manifest]:
    """So many of them, spread over namespaces."""
    return [stack(f"team-{number % min(count, NAMESPACES)}", f"stack-{number}") for number in range(count)]


def key(manifest: Manifest) -> tuple[str, str]:
    """Namespace and name."""
    return manifest["metadata"]["namespace"], manifest["metadata"]["name"]


def has(manifest: Manifest, condition: str) -> bool:
    """Whether a condition is True."""
    conditions = manifest.get("status", {}).get("conditions") or []
    return any(found["type"] == condition and found["status"] == "True" for found in conditions)


async def each(items: Iterable[Any], work: Callable[[Any], Awaitable[Any]], at_once: int) -> list[Any]:
    """Work on all items, so many at once."""
    free = asyncio.Semaphore(at_once)

    async def one(item: Any) -> Any:
        async with free:
            return await work(item)

    return await asyncio.gather(*(one(item) for item in items))


@asynccontextmanager
async def organisation(count: int) -> AsyncIterator[tuple[Plane, Client, Path]]:
    """A control plane with the namespaces and Secrets of so many stacks."""
    with tempfile.TemporaryDirectory(prefix="forge-") as text, Plane(Path(text) / "plane") as plane:
        items: list[Manifest] = []
        for namespace in sorted({one["metadata"]["namespace"] for one in stacks(count)}):
            items.append({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
            for name, data in SECRETS.items():
                meta = {"name": name, "namespace": namespace}
                items.append({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": data})
        plane.kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        async with Client.connect(plane.account("bench").read_text()) as client:
            yield plane, client, Path(text)


async def ramp(client: Client, operator: Operator, scale: Scale) -> Ramp:
    """Create all stacks at once, wait until all are Ready."""
    wanted = stacks(scale.stacks)
    ready: dict[tuple[str, str], Manifest] = {}

    def all_ready(_: str, seen: Manifest) -> bool:
        if has(seen, "Ready"):
            ready[key(seen)] = seen["status"]
        else:
            ready.pop(key(seen), None)
        return len(ready) == len(wanted)

    async with client.watching(STACK) as watch:
        position, used, begun = operator.plane.audit_position(), operator.processor(), time.monotonic()
        end = watch.expect(f"{len(wanted)} stacks Ready", all_ready, scale.limit)
        await each(wanted, lambda one: client.create(STACK, one), CREATORS)
        waiting = asyncio.ensure_future(end)
        while not waiting.done():
            operator.check()
            await asyncio.wait([waiting], timeout=1)
        try:
            seconds = await waiting - begun
        except RuntimeError as error:
            raise RuntimeError(f"{error}; {len(ready)} of {len(wanted)} are") from None
    return Ramp(
        stacks=scale.stacks,
        seconds=seconds,
        memory=operator.memory("VmHWM"),
        processor=operator.processor() - used,
        writes=operator.writes(position).total(),
        status=next(iter(ready.values())),
    )


# The floor


UID = "00000000-0000-0000-0000-000000000000"


def writes_of(manifest: Manifest, status: Manifest) -> list[tuple[str, str, bytes, str]]:
    """The least requests that make a stack's children, tell its story and say its status once it has its uid; UID
    stands for that."""
    known = {**manifest, "metadata": {**manifest["metadata"], "uid": UID, "generation": 1}}
    parsed = ObservabilityStack.model_validate(known)
    inputs = builders.Inputs(stack=parsed, settings=SETTINGS, store_secret=store_secret(parsed.metadata.name))
    now = datetime.now(UTC)
    sources = parsed.spec.sources
    covers = [FinishedLoad(UID, source.name, now) for source in sources]
    made = [
        builders.store.auth_secret(inputs, "w" * 43, "r" * 43),
        builders.api.made_token(inputs, "t" * 43),
        *(builders.loads.first_load(inputs, source, 1) for source in sources),
        builders.transform.job(inputs, 1, covers),
    ]
    happenings = [
        *(
            Happening("FirstLoadStarted", "Load", f"the first load of {source.name} started", source.name)
            for source in sources
        ),
        *(Happening("LoadSucceeded", "Load", f"{source.name} loaded, 1000 rows", source.name) for source in sources),
        Happening("TransformStarted", "Transform", f"transform 1 started for {len(sources)} load(s)", "1"),
        Happening("TransformSucceeded", "Transform", "transform 1 succeeded", "1"),
    ]
    told = [event(*subject_of(parsed), happening, OPERATOR, now) for happening in happenings]
    namespace, name = key(manifest)
    apply = f"?fieldManager={OPERATOR}&force=true"
    return [
        *(("POST", kind_of(one).path(namespace), json.dumps(one).encode(), "application/json") for one in made),
        *(
            ("PATCH", kind_of(one).path(*key(one)) + apply, json.dumps(one).encode(), APPLY)
            for one in builders.desired_children(inputs)
        ),
        *(("POST", EVENT.path(namespace), json.dumps(one).encode(), "application/json") for one in told),
        (
            "PATCH",
            STACK.path(namespace, name, "status"),
            json.dumps({"status": status}).encode(),
            "application/merge-patch+json",
        ),
    ]


DONE: dict[str, Callable[[Manifest], bool]] = {
    "StatefulSet": lambda seen: seen.get("status", {}).get("readyReplicas", 0) > 0,
    "Deployment": lambda seen: has(seen, "Available"),
    "Job": lambda seen: has(seen, "Complete"),
}


async def floor(scale: Scale, status: Manifest) -> tuple[float, float]:
    """Seconds of the same objects, written by a client that knows beforehand what to write, until the same workloads
    are available and the same Jobs complete; and the writes a stack."""
    wanted = stacks(scale.stacks)
    prepared = {key(one): writes_of(one, status) for one in wanted}
    async with organisation(scale.stacks) as (_, client, _), asyncio.timeout(scale.limit):

        async def bring(one: Manifest) -> None:
            created = await client.create(STACK, one)
            uid = created["metadata"]["uid"].encode()
            for method, path, body, kind in prepared[key(one)]:
                await client.send(method, path, body.replace(UID.encode(), uid), kind)

        begun = time.monotonic()
        await each(wanted, bring, SETTINGS.workers)
        counts = {"StatefulSet": 1, "Deployment": 1, "Job": len(SOURCES) + 1}
        ends = [_all_done(client, CHILDREN[kind], count * scale.stacks, scale.limit) for kind, count in counts.items()]
        seconds = max(await asyncio.gather(*ends)) - begun
    return seconds, 1 + len(prepared[key(wanted[0])])


async def _all_done(client: Client, kind: Kind, count: int, seconds: float) -> float:
    """When so many objects of a kind were done."""
    async with client.watching(kind) as watch:
        done = {key(one) for one in watch.initial if DONE[kind.kind](one)}
        if len(done) >= count:
            return time.monotonic()

        def all_done(_: str, seen: Manifest) -> bool:
            if DONE[kind.kind](seen):
                done.add(key(seen))
            return len(done) >= count

        return await watch.expect(f"{count} {kind.plural} done", all_done, seconds)


# Latencies


async def edits(client: Client, chosen: Sequence[Manifest]) -> list[float]:
    """From the request that edits a stack's schedule to its CronJob's new schedule, one at a time."""
    found = []
    async with client.watching(CHILDREN["CronJob"]) as watch:
        for number, one in enumerate(chosen):
            namespace, name = key(one)
            schedule = f"{1 + number % 59} 0 1 1 *"
            sources = [
                source | ({"schedule": schedule} if source["name"] == "jira" else {})
                for source in one["spec"]["sources"]
            ]
            child = (namespace, load_name(name, "jira"))
            seen = _seen(watch, child, _has_schedule(schedule))
            begun = time.monotonic()
            await client.merge(STACK, namespace, name, {"spec": {"sources": sources}})
            found.append(await seen - begun)
    return found


async def repairs(client: Client, chosen: Sequence[Manifest]) -> tuple[list[float], list[float]]:
    """From the request that edits, or deletes, a child to the child as it was: CronJobs and Services in turn."""
    changed, deleted = [], []
    cron_jobs, services = CHILDREN["CronJob"], CHILDREN["Service"]
    async with client.watching(cron_jobs) as loads, client.watching(services) as endpoints:
        for number, one in enumerate(chosen):
            namespace, name = key(one)
            if number % 2:
                kind, watch, child = services, endpoints, (namespace, api_name(name))
                change: Manifest = {"spec": {"selector": {COMPONENT_LABEL: "other"}}}
            else:
                kind, watch, child = cron_jobs, loads, (namespace, load_name(name, "prometheus"))
                change = {"spec": {"schedule": "59 23 1 1 *"}}
            before = await client.get(kind, *child)
            seen = _seen(watch, child, _put_back(before))
            begun = time.monotonic()
            await client.merge(kind, *child, change)
            changed.append(await seen - begun)
            seen = _seen(watch, child, _is_new(before))
            begun = time.monotonic()
            await client.delete(kind, *child)
            deleted.append(await seen - begun)
    return changed, deleted


def _has_schedule(schedule: str) -> Callable[[str, Manifest], bool]:
    return lambda _, seen: bool(seen["spec"]["schedule"] == schedule)


def _is_new(before: Manifest) -> Callable[[str, Manifest], bool]:
    return lambda happened, seen: happened == "ADDED" and bool(seen["metadata"]["uid"] != before["metadata"]["uid"])


def _put_back(before: Manifest) -> Callable[[str, Manifest], bool]:
    """Whether an object was changed, and is again what it was."""
    was_changed = False

    def holds(_: str, seen: Manifest) -> bool:
        nonlocal was_changed
        same: bool = seen["spec"] == before["spec"]
        was_changed = was_changed or not same
        return same and was_changed

    return holds


async def transforms(client: Client, chosen: Sequence[Manifest]) -> list[float]:
    """From the event that tells that a load Job completed to the one that tells that the transform Job was made."""
    cron_job, job = CHILDREN["CronJob"], CHILDREN["Job"]
    async with client.watching(job) as watch:

        async def load(one: Manifest) -> float:
            namespace, name = key(one)
            made: set[str] = set()

            def is_made(happened: str, seen: Manifest) -> bool:
                ours = key(seen)[0] == namespace and key(seen)[1].startswith(f"{name}-transform-")
                if ours and happened == "ADDED":
                    made.add(key(seen)[1])
                return bool(made)

            owner = await client.get(cron_job, namespace, load_name(name, "github"))
            manifest = _started_by(owner, "bench")
            completed = _seen(watch, key(manifest), lambda _, seen: has(seen, "Complete"))
            transform = watch.expect(f"a transform of {namespace}/{name}", is_made, 60)
            # What still runs would be committed later, when all is thought to be at rest.
            over = watch.expect(
                "its end", lambda _, o: key(o)[0] == namespace and key(o)[1] in made and has(o, "Complete"), 90
            )
            await client.create(job, manifest)
            ended, begun, _ = await asyncio.gather(completed, transform, over)
            return begun - ended

        return await each(chosen, load, 4)


def _started_by(cron_job: Manifest, suffix: str) -> Manifest:
    """A Job as the CronJob's controller makes it."""
    meta, template = cron_job["metadata"], cron_job["spec"]["jobTemplate"]
    owner = {"apiVersion": cron_job["apiVersion"], "kind": cron_job["kind"], "name": meta["name"], "uid": meta["uid"],
             "controller": True, "blockOwnerDeletion": True}  # fmt: skip
    metadata = {
        "name": f"{meta['name']}-{suffix}",
        "namespace": meta["namespace"],
        "labels": template["metadata"]["labels"],
        "ownerReferences": [owner],
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]}


def _seen(watch: Watch, child: tuple[str, str], holds: Callable[[str, Manifest], bool]) -> Awaitable[float]:
    return watch.expect(
        f"a change of {'/'.join(child)}", lambda happened, o: key(o) == child and holds(happened, o), 60
    )


# One run


@functools.cache
def measure(scale: Scale) -> Measured:
    """Everything on one control plane."""
    return asyncio.run(_measure(scale))


async def _measure(scale: Scale) -> Measured:
    async with organisation(scale.stacks) as (plane, client, folder):
        operator = Operator(plane, folder)
        try:
            operator.start()
            await operator.leads(scale)
            await operator.at_rest(scale)
            before = operator.memory()  # while it is small: later, room that it has already would hide what it takes
            await foreign(client, scale.foreign)
            await operator.at_rest(scale)
            foreign_memory = operator.memory() - before
            ramped = await ramp(client, operator, scale)
            await operator.at_rest(scale)
            rest_memory, rest = operator.memory(), await operator.rest(scale.rest)
            chosen = (stacks(scale.stacks) * math.ceil(scale.samples / scale.stacks))[: scale.samples]
            edited = await edits(client, chosen)
            changed, deleted = await repairs(client, chosen)
            at_once = {key(one): one for one in chosen}.values()
            change = {"spec": {"transform": {"settleTime": "0s"}}}
            await each(at_once, lambda one: client.merge(STACK, *key(one), change), CREATORS)
            await operator.at_rest(scale)
            covered = await transforms(client, list(at_once))
            await operator.at_rest(scale)

            operator.end(signal.SIGKILL)
            position = plane.audit_position()
            operator.start()
            lease_seconds = await operator.leads(scale)
            restart_seconds = await operator.at_rest(scale) - operator.started
            restart = operator.writes(position)
            if (looks := operator.looks()) < scale.stacks:
                raise RuntimeError(f"after its start the operator looked {looks} times at {scale.stacks} stacks")

            operator.end(signal.SIGTERM)
            operator.start(resync=scale.resync)
            await operator.leads(scale)
            await operator.at_rest(replace(scale, quiet=min(scale.quiet, scale.resync / 4)))
            idle = await operator.rest(3 * scale.resync)
        finally:
            operator.end(signal.SIGKILL)
    return Measured(
        scale=scale,
        ramp=ramped,
        rest_memory=rest_memory,
        rest=rest,
        foreign_memory=foreign_memory,
        edits=tuple(edited),
        changed=tuple(changed),
        deleted=tuple(deleted),
        transforms=tuple(covered),
        lease_seconds=lease_seconds,
        restart_seconds=restart_seconds,
        restart=restart,
        idle=idle,
    )


async def foreign(client: Client, count: int) -> None:
    """Secrets and ConfigMaps that are no business of the operator's, so many of each."""
    text = "x" * FOREIGN_BYTES

    async def make(number: int) -> None:
        meta = {"name": f"foreign-{number}", "namespace": "default"}
        await client.create(CHILDREN["Secret"], {"metadata": meta, "stringData": {"text": text}})
        await client.create(CHILDREN["ConfigMap"], {"metadata": meta, "data": {"text": text}})

    await each(range(count), make, CREATORS)


@functools.cache
def measure_floor(scale: Scale) -> tuple[float, float]:
    """The floor of the same scale."""
    return asyncio.run(floor(scale, measure(scale).ramp.status))


@functools.cache
def measure_ramp(scale: Scale) -> Ramp:
    """Only the ramp, on a control plane of its own."""

    async def run() -> Ramp:
        async with organisation(scale.stacks) as (plane, client, folder):
            operator = Operator(plane, folder)
            try:
                operator.start()
                await operator.leads(scale)
                await operator.at_rest(scale)
                return await ramp(client, operator, scale)
            finally:
                operator.end(signal.SIGKILL)

    return asyncio.run(run())


# Results


def given() -> Scale:
    """The scale that the environment asks for; by default that of the names."""
    return Scale(stacks=int(os.environ.get("FORGE_BENCH_STACKS", Scale.stacks)))


def curve() -> list[Ramp]:
    """Ramps of other numbers of stacks."""
    counts = os.environ.get("FORGE_BENCH_STACKS_CURVE", "100,1000")
    return [measure_ramp(replace(given(), stacks=int(count))) for count in counts.split(",") if count]


def quantile(samples: Iterable[float], share: float) -> float:
    """The nearest-rank quantile."""
    ranked = sorted(samples)
    return ranked[max(math.ceil(share * len(ranked)) - 1, 0)]


def spread(samples: Sequence[float]) -> str:
    """p50, p95, p99 in words."""
    shown = ", ".join(f"p{share} {quantile(samples, share / 100):.2f}" for share in (50, 95, 99))
    return f"{shown} s of {len(samples)}"


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{resource} {count}" for resource, count in counts.most_common()) or "none"


def _seconds(name: str) -> Result:
    scale = given()
    found = measure(scale)
    least, writes = measure_floor(scale)
    told = [f"{found.ramp.note}, the floor {writes:.0f} writes"]
    told += [f"{other.stacks:,} stacks {other.seconds:.0f} s" for other in curve()]
    note = f"{found.ramp.seconds / least:.2f} times the floor (bar 1.5); {'; '.join(told)}"
    return Result(name, "s", found.ramp.seconds, floor=least, note=f"{_of(scale)}{note}")


def _memory(name: str) -> Result:
    found = measure(given())
    more = "".join(f"; {other.stacks:,} stacks {other.memory:.0f}" for other in curve())
    foreign_note = (
        f"{found.scale.foreign:,} Secrets and as many ConfigMaps of others move it by {found.foreign_memory:+.1f}"
    )
    note = f"peak of the process (bar 175 MiB), at rest {found.rest_memory:.0f}{more}; {foreign_note} (bar 5)"
    return Result(name, "MiB", found.ramp.memory, note=f"{_of(found.scale)}{note}")


def _idle(name: str) -> Result:
    found = measure(given())
    idle, rest = found.idle, found.rest
    told = f" ({_counted(idle.writes - Counter(leases=idle.leases))})" if idle.others else ""
    note = (
        f"in {idle.seconds:.0f} s, a resync each {found.scale.resync:.0f} s{told}; the Lease {idle.leases}; "
        f"{rest.share:.1f} % of a core as installed (bar 2), {idle.share:.1f} % with these resyncs"
    )
    return Result(name, "writes", idle.others, note=f"{_of(found.scale)}{note}")


def _restart(name: str) -> Result:
    found = measure(given())
    children = found.restart.total() - found.restart["leases"]
    note = (
        f"killed and started until at rest (bar 30), {found.lease_seconds:.1f} s until it led; "
        f"{children} writes but the Lease's: {_counted(found.restart)}"
    )
    return Result(name, "s", found.restart_seconds, note=f"{_of(found.scale)}{note}")


def _edit(name: str) -> Result:
    found = measure(given())
    return Result(name, "s", quantile(found.edits, 0.95), note=f"{_of(found.scale)}{spread(found.edits)} (bar 1)")


def _drift(name: str) -> Result:
    found = measure(given())
    both = found.changed + found.deleted
    note = f"edited {spread(found.changed)}; deleted {spread(found.deleted)} (bar 1)"
    return Result(name, "s", quantile(both, 0.95), note=f"{_of(found.scale)}{note}")


def _transform(name: str) -> Result:
    found = measure(given())
    return Result(
        name, "s", quantile(found.transforms, 0.95), note=f"{_of(found.scale)}{spread(found.transforms)} (bar 1)"
    )


def _of(scale: Scale) -> str:
    return "" if scale.stacks == Scale.stacks else f"WITH {scale.stacks} STACKS: "


BENCHMARKS: dict[str, Benchmark] = {
    "operator.stacks_500_seconds": _seconds,
    "operator.stacks_500_memory_mb": _memory,
    "operator.idle_writes": _idle,
    "operator.restart_500_seconds": _restart,
    "operator.edit_to_child_p95_seconds": _edit,
    "operator.drift_repair_p95_seconds": _drift,
    "operator.load_to_transform_p95_seconds": _transform,
}
