"""What one pass finds out before it acts: the loads, the runs that are asked for, the transforms, and what keeps a
source from loading; and the status that follows. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from forge_stack.decisions import FinishedLoad, RunTransform, Wait, decide_transform
from forge_stack.model import ObservabilityStack, StackStatus, TransformStatus
from forge_stack.status import Fact, assemble, observe_source

from forge_operator import facts, loads, requests, transforms
from forge_operator.apply import Refusal
from forge_operator.loads import Loads
from forge_operator.names import SOURCE_LABEL, Manifest, api_name, label, load_name
from forge_operator.requests import Requests
from forge_operator.world import World


@dataclass(frozen=True)
class Survey:
    """What was found. `problems` tells, by source, what keeps its loads from starting; refusals add to it while the
    pass acts. `waiting` are the runs that are asked for and have no Job yet. `committed` is the position after every
    transform that ended."""

    stack: ObservabilityStack
    world: World
    sources: tuple[Loads, ...]
    problems: dict[str, Fact | None]
    asked: Requests
    waiting: Requests
    finished: tuple[FinishedLoad, ...]
    jobs: list[tuple[int, Manifest]]
    committed: TransformStatus
    running: bool

    @cached_property
    def new(self) -> list[Loads]:
        """The sources of which no load ever succeeded."""
        known = {status.name: status for status in self.stack.status.sources}
        return [each for each in self.sources if not each.succeeded_before(known.get(each.source.name))]

    @property
    def held(self) -> frozenset[str]:
        """The sources whose CronJob must not fire."""
        kept = {name for name, problem in self.problems.items() if problem is not None}
        return frozenset({each.source.name for each in self.new} | kept | requests.holding(self.waiting, self.sources))

    def refuse(self, refusals: Iterable[Refusal]) -> None:
        """What was refused of a source keeps its loads from starting."""
        for refusal in refusals:
            if source := label(refusal.manifest, SOURCE_LABEL):
                self.problems[source] = facts.refused_fact([refusal])

    def next_transform(self, store: Fact) -> RunTransform | Wait:
        """Whether a transform must run now."""
        spec = self.stack.spec
        return decide_transform(
            now=self.world.now,
            finished=self.finished,
            expected=[s.name for s in spec.sources if not s.suspend and self.problems[s.name] is None],
            status=self.committed,
            running=self.running,
            settings=spec.transform,
            generation=self.stack.metadata.generation,
            requested=bool(self.waiting.transforms) and store.holds is True,
        )

    def status(self, store: Fact, api: Fact, refusals: Sequence[Refusal]) -> StackStatus:
        """The stack's status."""
        known = {status.name: status for status in self.stack.status.sources}
        meta = self.stack.metadata
        observed = []
        for each in self.sources:
            name = each.source.name
            seen = loads.facts(self.world, each, known.get(name), self.problems[name])
            before = loads.settled(known.get(name), seen.problem)
            observed.append(observe_source(before, seen, suspended=self.stack.spec.suspend))
        return assemble(
            stack=self.stack,
            now=self.world.now,
            store=store,
            sources=observed,
            transform=self.committed,
            transform_running=self.running,
            transform_pending="the first transform is due" if self.finished else "no load has succeeded yet",
            api=api,
            api_url=f"http://{api_name(meta.name)}.{meta.namespace}.svc",
            refused=facts.refused_conditions(refusals),
        )


def survey(stack: ObservabilityStack, manifest: Manifest, world: World) -> Survey:
    """Look at a stack and at what is there of it."""
    name, sources = stack.metadata.name, stack.spec.sources
    found = tuple(
        loads.loads_of(world, source, world.get("CronJob", load_name(name, source.name))) for source in sources
    )
    asked = requests.parse(manifest, stack)
    jobs = transforms.transform_jobs(world)
    finished = loads.finished_loads(found, stack.status)
    return Survey(
        stack=stack,
        world=world,
        sources=found,
        problems={s.name: loads.secret_problem(s, world.secrets.get(s.secret_name or "")) for s in sources},
        asked=asked,
        waiting=asked.without(requests.started(world.jobs)),
        finished=tuple(finished),
        jobs=jobs,
        committed=transforms.commit_ended(world, stack, jobs, finished),
        running=bool(transforms.running(jobs, world.pods)),
    )
