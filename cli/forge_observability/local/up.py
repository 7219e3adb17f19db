"""One stack on this machine: child processes in place of Jobs, the embedded store in place of ClickHouse.

The loop is the operator's, small: look at what ended, decide (forge_stack.decisions), start what is due, tell the
status, sleep until something ends or is due.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
from forge_stack.decisions import RunTransform, commit_transform, decide_load, decide_transform
from forge_stack.model import Source, SourceStatus, StackStatus
from forge_stack.status import Fact, SourceFacts, assemble, observe_source
from forge_stack.wire import LoadSummary, Problem, StoreDsn, TransformSummary, decode_summary
from rich.console import Console

from forge_observability.local import programs, report
from forge_observability.local.children import Child, ChildError, Children
from forge_observability.local.state import LoadRecord, State, password, private_file
from forge_observability.stackfile import StackFile
from forge_observability.view import status_view

STORE_START_SECONDS = 60
API_START_SECONDS = 60


class UpError(Exception):
    """The stack cannot run here; the message says what to do."""


@dataclass(frozen=True)
class Options:
    """What the command line asked for."""

    data_dir: Path
    host: str
    port: int
    once: bool
    keep_serving: bool


async def run(file: StackFile, options: Options, out: Console) -> int:
    """Run the stack until told to end, or once until all was loaded and transformed. Gives the exit code."""
    runner = Runner(file, options, out)
    loop = asyncio.get_running_loop()
    for number in ending_signals():
        loop.add_signal_handler(number, runner.stop)
    try:
        return await runner.run()
    except ChildError as error:
        raise UpError(str(error)) from error
    finally:
        await runner.children.end_all()


def ending_signals() -> list[signal.Signals]:
    """What ends a run in order. A terminal that closes is one of them, unless `nohup` says otherwise: the children are
    in sessions of their own and would stay."""
    hangs_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hangs_up else [])]


@dataclass
class Runner:
    """The loop and what it needs to know."""

    file: StackFile
    options: Options
    out: Console
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.stack = self.file.stack
        self.home = self.options.data_dir / self.stack.metadata.name
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.state_file = self.home / "state.json"
        self.state = State.read(self.state_file)
        self.state.resume(source.name for source in self.stack.spec.sources)
        self.children = Children(self.home / "logs", self.changed)
        self.loads: dict[str, Child] = {}
        self.attempted: set[str] = set()
        self.transform: tuple[Child, RunTransform, datetime] | None = None
        self.api_url = ""
        self.store_ready = False
        self.api_ready = False
        self.news = False

    def stop(self) -> None:
        """Begin to end: a second call has nothing to add, children get their time to end cleanly."""
        self.stopping.set()
        self.changed.set()

    async def run(self) -> int:
        """Store, loads, transforms, API; then the summary."""
        writer, reader = await self._start_store()
        await self._start_api(reader)
        while not self.stopping.is_set():
            self.changed.clear()
            self._collect()
            wake = self._start_due(writer)
            self._tell_status()
            if self.news and not self.options.once:
                self.news = False
                await report.print_summary(self.out, self.api_url, self._headers())
            if self.options.once and self._all_done():
                break
            await self._sleep(wake)
        if self.stopping.is_set() and self.options.once:
            return 130
        return await self._finish()

    def _tell(self, line: str) -> None:
        self.out.print(line, soft_wrap=True)

    async def _finish(self) -> int:
        if self.stopping.is_set():
            return 0
        ready = all(c.status == "True" for c in self.state.status.conditions)
        if not ready:
            self.out.print(status_view(self.state.status))
        if self.state.status.transform.last_success_time is None:
            self._tell("no gold yet: no transform has succeeded")
        else:
            await report.print_summary(self.out, self.api_url, self._headers())
        if self.options.keep_serving:
            self._tell(f"\nthe page: [bold]{self.api_url}/[/bold]   (Ctrl-C ends)")
            while not self.stopping.is_set():
                self.changed.clear()
                self._collect()  # a store or an API that ended is told
                await self.changed.wait()
        return 0 if ready else 1

    # The store and the API

    async def _start_store(self) -> tuple[Path, Path]:
        """Start the embedded store, or take the external one; gives the DSN files of the writer and of the reader."""
        external = self.stack.spec.store.external
        if external is not None:
            ref = external.dsn_secret_ref
            values = self.file.secrets.get(ref.name, {})
            dsn = values.get(ref.key)
            if dsn is None:
                raise UpError(f"spec.store.external names Secret {ref.name} key {ref.key}; add it to {self.file.path}")
            self.store_ready = True
            writer = private_file(self.home / "secrets" / "dsn", dsn)
            return writer, private_file(self.home / "secrets" / "reader-dsn", values.get("reader-dsn", dsn))
        folder = self.home / "secrets"
        words = {user: password(folder / f"{user}-password") for user in (programs.WRITER, programs.READER)}
        config = self.home / "store-config"
        private_file(
            config / "users.d" / "forge.yaml", programs.store_users(words[programs.WRITER], words[programs.READER])
        )
        port = _free_port()
        started = datetime.now(UTC)
        child = await self.children.start("store", programs.store(data=self.home / "data", config=config, port=port))
        await self._answers(child, f"http://127.0.0.1:{port}/ping", STORE_START_SECONDS)
        self.store_ready = True
        self._tell(f"store ready after {(datetime.now(UTC) - started).total_seconds():.1f} s")
        files = []
        for user, name in ((programs.WRITER, "dsn"), (programs.READER, "reader-dsn")):
            dsn_of: StoreDsn = programs.store_dsn(user, words[user], port)
            files.append(private_file(folder / name, dsn_of.url))
        return files[0], files[1]

    async def _start_api(self, reader: Path) -> None:
        auth = self.stack.spec.api.auth
        tokens: Path | None = None
        if auth.mode == "Token":
            kept = self.home / "secrets" / "api-token"
            if auth.token_secret_ref is not None:
                token = self.file.secrets.get(auth.token_secret_ref.name, {}).get("token")
                if token is None:
                    name = auth.token_secret_ref.name
                    raise UpError(f"spec.api.auth names Secret {name} with the key token; add it to {self.file.path}")
                private_file(kept, token)
            else:
                password(kept)
            tokens = kept
        port = self.options.port or _free_port(self.options.host)
        command = programs.api(
            name=self.stack.metadata.name, dsn=reader, host=self.options.host, port=port, tokens=tokens
        )
        child = await self.children.start("api", command)
        self.api_url = f"http://{self.options.host}:{port}"
        await self._answers(child, f"{self.api_url}/healthz", API_START_SECONDS)
        self.api_ready = True
        told = f" (token in {tokens})" if tokens else ""
        self._tell(f"API and page at [bold]{self.api_url}/[/bold]{told}")

    async def _answers(self, child: Child, url: str, seconds: float) -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            for _ in range(int(seconds / 0.1)):
                if self.stopping.is_set():
                    return
                if child.ended_at is not None:
                    break
                try:
                    if (await client.get(url, timeout=2)).is_success:
                        return
                except httpx.HTTPError:
                    pass
                await asyncio.sleep(0.1)
        raise UpError(f"{child.name} does not answer; its log is {child.log}\n{child.tail()}")

    def _headers(self) -> dict[str, str]:
        token = self.home / "secrets" / "api-token"
        if self.stack.spec.api.auth.mode != "Token":
            return {}
        return {"Authorization": f"Bearer {token.read_text(encoding='utf-8').splitlines()[0]}"}

    # What ended

    def _collect(self) -> None:
        for essential in ("store", "api"):
            child = self.children.named.get(essential)
            if child is not None and child.ended_at is not None and not self.stopping.is_set():
                raise UpError(f"the {essential} ended with code {child.code}; its log is {child.log}\n{child.tail()}")
        self._collect_loads()
        self._collect_transform()

    def _collect_loads(self) -> None:
        for name, child in list(self.loads.items()):
            if child.ended_at is None:
                continue
            del self.loads[name]
            summary = decode_summary(child.summary_text())
            source = self._source(name)
            load = summary if isinstance(summary, LoadSummary) else None
            good = child.code == 0
            failure = f"ended with code {child.code}; its log is {child.log}"
            facts = SourceFacts(source, ended_at=child.ended_at, succeeded=good, summary=load, failure=failure)
            self._set_source(observe_source(self._source_status(name), facts, suspended=self.stack.spec.suspend))
            if good:
                uid = f"{name}@{child.started_at.isoformat()}"
                self.state.loads.append(LoadRecord(uid=uid, source=name, ended_at=child.ended_at))
                self.state.failures.pop(name, None)
            else:
                self.state.failures[name] = self.state.failures.get(name, 0) + 1
            self._tell(report.load_line(name, good, child.seconds(), load, failure))

    def _collect_transform(self) -> None:
        if self.transform is None or (ended_at := self.transform[0].ended_at) is None:
            return
        child, run, started = self.transform
        self.transform = None
        decoded = decode_summary(child.summary_text())
        summary = decoded if isinstance(decoded, TransformSummary) else None
        good = child.code == 0
        committed = commit_transform(
            status=self.state.status.transform,
            sequence=run.sequence,
            succeeded=good,
            covered=[load.finished() for load in self.state.loads if load.uid in run.uids],
            existing=[load.uid for load in self.state.loads],
            started_at=started,
            ended_at=ended_at,
        )
        told = committed.with_summary(summary, failure=f"ended with code {child.code}; its log is {child.log}")
        self.state.status = self.state.status.model_copy(update={"transform": told})
        self.news = good
        self._tell(report.transform_line(run.sequence, good, child.seconds(), summary, told.message))

    # What is due

    def _start_due(self, writer: Path) -> datetime | None:
        """Start the loads and the transform that are due; gives when to look again."""
        now = datetime.now(UTC)
        due: list[datetime] = []
        for source in self.stack.spec.sources:
            when = self._load_due(source, now)
            if when is not None and when <= now:
                self._start_load(source, writer, now)
            elif when is not None:
                due.append(when)
        decision = decide_transform(
            now=now,
            finished=[load.finished() for load in self.state.loads],
            expected=self._expected(),
            status=self.state.status.transform,
            running=self.transform is not None,
            settings=self.stack.spec.transform,
        )
        if (
            isinstance(decision, RunTransform)
            and not (self.options.once and self.loads)
            and not self.stack.spec.suspend
        ):
            self._start_transform(decision, writer, now)
        elif not isinstance(decision, RunTransform) and decision.until is not None:
            due.append(decision.until)
        return min(due) if due else None

    def _load_due(self, source: Source, now: datetime) -> datetime | None:
        name = source.name
        if self.options.once:
            return None if name in self.attempted or source.suspend or self.stack.spec.suspend else now
        return decide_load(
            now=now,
            source=source,
            last_started=self.state.last_started.get(name),
            failures=self.state.failures.get(name, 0),
            running=name in self.loads,
            suspended=self.stack.spec.suspend,
        )

    def _start_load(self, source: Source, writer: Path, now: datetime) -> None:
        name = source.name
        self.attempted.add(name)
        self.state.last_started[name] = now
        secret = source.secret_name
        if secret is not None and secret not in self.file.secrets:
            message = f"Secret {secret} is missing; add it to {self.file.path}"
            facts = SourceFacts(source, problem=Problem(reason="InvalidConfiguration", message=message))
            self._set_source(observe_source(self._source_status(name), facts, suspended=False))
            self.state.failures[name] = self.state.failures.get(name, 0) + 1
            self._tell(report.load_line(name, False, 0.0, None, message))
            return
        # Emptied: a key that the Secret no longer has must not be used, or be sent to another address.
        credentials = self.children.scratch(self.home / "secrets" / "sources" / name)
        for key, value in self.file.secrets.get(secret or "", {}).items():
            private_file(credentials / key, value)
        work = self.children.scratch(self.home / "work" / name)
        command = programs.load(source, dsn=writer, credentials=credentials, work=work, summary=work / "summary.json")
        self.loads[name] = self.children.start_soon(f"load-{name}", command)
        facts = SourceFacts(source, running=True)
        self._set_source(observe_source(self._source_status(name), facts, suspended=self.stack.spec.suspend))

    def _start_transform(self, run: RunTransform, writer: Path, now: datetime) -> None:
        request = self.stack.spec.transform_request(run.sources)
        work = self.children.scratch(self.home / "work" / "_transform")
        command = programs.transform(request, dsn=writer, work=work, summary=work / "summary.json")
        self.transform = (self.children.start_soon("transform", command), run, now)

    def _expected(self) -> list[str]:
        return [s.name for s in self.stack.spec.sources if not s.suspend and not self.state.failures.get(s.name)]

    def _all_done(self) -> bool:
        tried = {s.name for s in self.stack.spec.sources if not s.suspend and not self.stack.spec.suspend}
        consumed = set(self.state.status.transform.consumed)
        waiting = any(load.uid not in consumed for load in self.state.loads)
        failed = self.state.status.transform.failures > 0
        return tried <= self.attempted and not self.loads and self.transform is None and (failed or not waiting)

    async def _sleep(self, wake: datetime | None) -> None:
        seconds = None if wake is None else max(0.0, (wake - datetime.now(UTC)).total_seconds())
        try:
            # Not wait_for: before Python 3.12 it forgets a cancellation that comes with the change.
            async with asyncio.timeout(seconds):
                await self.changed.wait()
        except TimeoutError:
            return

    # The status

    def _source(self, name: str) -> Source:
        return next(s for s in self.stack.spec.sources if s.name == name)

    def _source_status(self, name: str) -> SourceStatus | None:
        return next((s for s in self.state.status.sources if s.name == name), None)

    def _set_source(self, new: SourceStatus) -> None:
        others = [s for s in self.state.status.sources if s.name != new.name]
        self.state.status = self.state.status.model_copy(update={"sources": [*others, new]})

    def _tell_status(self) -> None:
        known = {s.name: s for s in self.state.status.sources}
        sources = [
            known.get(s.name) or observe_source(None, SourceFacts(s), suspended=False) for s in self.stack.spec.sources
        ]
        status: StackStatus = assemble(
            stack=self.stack.model_copy(update={"status": self.state.status}),
            now=datetime.now(UTC),
            store=Fact(self.store_ready, "Answers" if self.store_ready else "Starting"),
            sources=sources,
            transform=self.state.status.transform,
            transform_running=self.transform is not None,
            transform_pending="waiting for the first loads",
            api=Fact(self.api_ready, "Serving" if self.api_ready else "Starting"),
            api_url=self.api_url,
        )
        self.state.status = status
        self.state.write(self.state_file)


def _free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
