"""Child processes: started in their own group, logged to a file, ended in order."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from datetime import UTC, datetime
from pathlib import Path

from forge_observability.local.programs import Command, child_environment, find

GRACE_SECONDS = 30
"""How long a child may take to end after SIGTERM."""


class ChildError(Exception):
    """A program cannot be started."""


class Child:
    """One child process and how it ended."""

    def __init__(self, name: str, log: Path, summary: Path | None) -> None:
        self.name = name
        self.log = log
        self.summary = summary
        self.started_at = datetime.now(UTC)
        self.ended_at: datetime | None = None
        self.code: int | None = None
        self.process: asyncio.subprocess.Process | None = None
        self.spawned = asyncio.Event()

    def seconds(self) -> float:
        """How long it ran, or has run."""
        return ((self.ended_at or datetime.now(UTC)) - self.started_at).total_seconds()

    def summary_text(self) -> str:
        """What it wrote for us before it ended."""
        if self.summary is None or not self.summary.exists():
            return ""
        return self.summary.read_text(encoding="utf-8", errors="replace")

    def tail(self, lines: int = 8) -> str:
        """The end of its log."""
        try:
            return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
        except OSError:
            return ""


class Children:
    """All children of a run; `changed` is set whenever one ends."""

    def __init__(self, logs: Path, changed: asyncio.Event) -> None:
        self.logs = logs
        self.changed = changed
        self.named: dict[str, Child] = {}
        self._watchers: set[asyncio.Task[None]] = set()

    @staticmethod
    def scratch(path: Path) -> Path:
        """An empty folder."""
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True, mode=0o700)
        return path

    def start_soon(self, name: str, command: Command) -> Child:
        """Start a child; an error of the start shows as its end."""
        child = self._new(name, command)
        self._watch(self._run(child, command))
        return child

    async def start(self, name: str, command: Command) -> Child:
        """Start a child that must be there. Raises ChildError."""
        child = self._new(name, command)
        try:
            await self._spawn(child, command)
        finally:
            child.spawned.set()
        self._watch(self._wait(child))
        return child

    def _watch(self, work: asyncio._CoroutineLike[None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._watchers.add(task)
        task.add_done_callback(self._watchers.discard)

    def _new(self, name: str, command: Command) -> Child:
        self.logs.mkdir(parents=True, exist_ok=True)
        summary = command.env.get("FORGE_TERMINATION_LOG")
        child = Child(name, self.logs / f"{name}.log", Path(summary) if summary else None)
        self.named[name] = child
        return child

    async def _run(self, child: Child, command: Command) -> None:
        try:
            await self._spawn(child, command)
        except (ChildError, OSError) as error:
            child.log.write_text(f"{error}\n", encoding="utf-8")
            child.code, child.ended_at = 127, datetime.now(UTC)
            self.changed.set()
            return
        finally:
            child.spawned.set()
        await self._wait(child)

    async def _spawn(self, child: Child, command: Command) -> None:
        program = find(command.args[0])
        if program is None:
            raise ChildError(f"{command.args[0]} is not installed; install forge-observability[local]")
        with child.log.open("ab") as log:
            child.process = await asyncio.create_subprocess_exec(
                program,
                *command.args[1:],
                env=child_environment(command.env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                # A group of its own: Ctrl-C reaches us alone, and we end the children in order.
                start_new_session=True,
            )

    async def _wait(self, child: Child) -> None:
        assert child.process is not None  # noqa: S101 - set by _spawn
        child.code = await child.process.wait()
        child.ended_at = datetime.now(UTC)
        self.changed.set()

    async def end_all(self) -> None:
        """End every child: the store last, so that the others can finish what they write."""
        # One that is about to start would outlive us.
        await asyncio.gather(*(child.spawned.wait() for child in self.named.values()))
        order = sorted(self.named.values(), key=lambda child: child.name == "store")
        for group in ([c for c in order if c.name != "store"], [c for c in order if c.name == "store"]):
            running = [c for c in group if c.process is not None and c.ended_at is None]
            for child in running:
                _signal(child, signal.SIGTERM)
            waits = [c.process.wait() for c in running if c.process is not None]
            if not waits:
                continue
            try:
                await asyncio.wait_for(asyncio.gather(*waits), GRACE_SECONDS)
            except TimeoutError:
                for child in running:
                    _signal(child, signal.SIGKILL)


def _signal(child: Child, number: signal.Signals) -> None:
    if child.process is not None and child.process.returncode is None:
        try:
            os.killpg(child.process.pid, number)
        except ProcessLookupError:
            return
