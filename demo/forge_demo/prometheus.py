"""The real Prometheus as a child process: the world's past as blocks by promtool, what happens later by remote write.

Binaries: FORGE_PROMETHEUS_DIR, else the PATH, else Debian's package unpacked into the cache folder (FORGE_CACHE_DIR,
default ~/.cache/forge-observability); nothing is installed. Blocks are cached there too, by world and window.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from forge_demo import metrics, remote_write
from forge_demo.apis.common import Live
from forge_demo.world import World

READY_SECONDS = 30
KEPT_BLOCKS = 4
PUSH_WINDOW = 30 * metrics.STEP
_INSTALL = (
    "Prometheus is needed and was not found: install Debian's package prometheus, or set FORGE_PROMETHEUS_DIR to a "
    "folder with the programs prometheus and promtool, or serve without it (--no-prometheus)"
)


def cache_folder() -> Path:
    """Where downloads and blocks are kept."""
    return Path(os.environ.get("FORGE_CACHE_DIR") or Path.home() / ".cache" / "forge-observability")


def binaries() -> tuple[Path, Path]:
    """(prometheus, promtool). Raises OSError that says what to install."""
    folder = os.environ.get("FORGE_PROMETHEUS_DIR")
    unpacked = cache_folder() / "prometheus" / "usr" / "bin"
    for place in [Path(folder)] if folder else [*_path(), unpacked]:
        found = place / "prometheus", place / "promtool"
        if all(os.access(program, os.X_OK) for program in found):
            return found
    if folder:
        raise OSError(f"FORGE_PROMETHEUS_DIR={folder} holds no prometheus and promtool")
    _unpack(cache_folder() / "prometheus")
    return unpacked / "prometheus", unpacked / "promtool"


def _path() -> list[Path]:
    return [Path(entry) for entry in os.environ.get("PATH", "").split(os.pathsep) if entry]


def _unpack(folder: Path) -> None:
    """Debian's package, downloaded and unpacked, not installed."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise OSError(_INSTALL)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        fetched = _ran(["apt-get", "download", "prometheus"], work)
        if fetched is not None:
            _ran(["apt-get", "update"], work)
            fetched = _ran(["apt-get", "download", "prometheus"], work)
        package = next(Path(work).glob("*.deb"), None)
        if fetched is not None or package is None:
            raise OSError(f"{_INSTALL}. apt said: {fetched}")
        target = Path(work) / "unpacked"
        failed = _ran(["dpkg-deb", "-x", str(package), str(target)], work)
        if failed is not None:
            raise OSError(f"{_INSTALL}. dpkg-deb said: {failed}")
        if not folder.exists():
            target.rename(folder)


def _ran(command: list[str], folder: str) -> str | None:
    """None, or what it said when it failed."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    return (
        None if done.returncode == 0 else (done.stderr or done.stdout).strip()[-500:] or f"exit code {done.returncode}"
    )


# Blocks


def blocks(world: World, begin: datetime, end: datetime, promtool: Path) -> Path:
    """A folder with the world's samples of (begin, end] as TSDB blocks, from the cache if it is there."""
    identity = (world.seed, world.start, world.tickets_per_day, begin, end, _code())
    key = hashlib.sha256(repr(identity).encode()).hexdigest()[:20]
    parent = cache_folder() / "demo-blocks"
    folder = parent / key
    if folder.is_dir():
        os.utime(folder)
        return folder
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=".making-") as work:
        text, made = Path(work) / "metrics.txt", Path(work) / "blocks"
        with text.open("w") as file:
            past = [event for event in world.past if event.at <= end]
            file.writelines(metrics.open_metrics(past, begin.timestamp(), end.timestamp()))
        # promtool reads the whole text once a block: long blocks, few readings.
        span = max(2, int((end - begin).total_seconds() // 3600) + 1)
        command = [str(promtool), "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration", f"{span * 3}h"]
        failed = _ran([*command, "--quiet", str(text), str(made)], work)
        if failed is not None:
            raise OSError(f"promtool could not make the blocks: {failed}")
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
    _forget_old(parent)
    return folder


def _code() -> str:
    """Changes when the code that tells the world or its metrics does."""
    here = Path(__file__).parent
    names = ("events", "metrics", "organisation", "pen", "story", "traces", "world")
    return hashlib.sha256(b"".join((here / f"{name}.py").read_bytes() for name in names)).hexdigest()


def _forget_old(parent: Path) -> None:
    kept = sorted((p for p in parent.iterdir() if p.is_dir() and p.name[0] != "."), key=lambda p: p.stat().st_mtime)
    for old in kept[:-KEPT_BLOCKS]:
        shutil.rmtree(old, ignore_errors=True)


# The server


class Server:
    """A Prometheus that holds the world's metrics up to its now, while the context lasts; entering gives its URL.

    `scrape_config`: YAML list of further scrape_configs, e.g. of a cluster's own API server.
    """

    def __init__(self, live: Live, host: str, port: int, span: timedelta, scrape_config: Path | None) -> None:
        self.live, self.host, self.port, self.span, self.scrape_config = live, host, port, span, scrape_config
        self._pushed_until = 0.0
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> str:
        """Start it and wait until it is ready. Raises OSError."""
        prometheus, promtool = await asyncio.to_thread(binaries)
        now = self.live.world.now
        end = now.replace(minute=0, second=0, microsecond=0)
        begin = max(end - self.span, self.live.world.start)
        ready = await asyncio.to_thread(blocks, self.live.world, begin, end, promtool)
        self._folder = tempfile.TemporaryDirectory(
            prefix="forge-demo-prometheus-", dir=os.environ.get("FORGE_WORK_DIR")
        )
        folder = Path(self._folder.name)
        shutil.copytree(ready, folder / "data")
        (folder / "prometheus.yml").write_text(yaml.safe_dump(self._config()))
        self.port = self.port or _free_port(self.host)
        shown = "127.0.0.1" if self.host == "0.0.0.0" else self.host  # noqa: S104
        self.url = f"http://{shown}:{self.port}"
        self._process = await asyncio.create_subprocess_exec(
            str(prometheus),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={self.host}:{self.port}",
            "--storage.tsdb.retention.time=10y",
            "--web.enable-remote-write-receiver",
            "--log.level=warn",
            stdout=subprocess.DEVNULL,
            stderr=(folder / "log").open("wb"),
        )
        try:
            await self._until_ready(folder / "log")
            self._pushed_until = end.timestamp()
            await self.push()
        except BaseException:
            await self._stop()
            raise
        self.live.after_advance = self.push
        self._pump = asyncio.create_task(self._keep_pushing())
        return self.url

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it and remove its data."""
        self.live.after_advance = None
        self._pump.cancel()
        await self._stop()

    def _config(self) -> dict[str, Any]:
        scrapes = yaml.safe_load(self.scrape_config.read_text()) if self.scrape_config else []
        if not isinstance(scrapes, list):
            raise ValueError(f"{self.scrape_config}: a YAML list of scrape_configs is expected")
        return {
            "global": {"scrape_interval": "15s"},
            "storage": {"tsdb": {"out_of_order_time_window": "1h"}},
            "scrape_configs": scrapes,
        }

    async def _until_ready(self, log: Path) -> None:
        for _ in range(READY_SECONDS * 20):
            if self._process.returncode is not None:
                raise OSError(f"Prometheus ended with code {self._process.returncode}: {_end_of(log)}")
            try:
                await asyncio.to_thread(_request, f"{self.url}/-/ready", None)
                return
            except OSError:
                await asyncio.sleep(0.05)
        raise OSError(f"Prometheus was not ready after {READY_SECONDS} s: {_end_of(log)}")

    async def push(self) -> None:
        """Write what happened since the last push."""
        async with self._lock:
            until = self.live.state().now.timestamp()
            if (
                until - self._pushed_until < metrics.STEP
                and until // metrics.STEP == self._pushed_until // metrics.STEP
            ):
                return
            everything = metrics.series(self.live.world.past)
            begin = self._pushed_until
            while begin < until:
                end = min(begin + PUSH_WINDOW, until)
                body = remote_write.body(_window(everything, begin, end))
                await asyncio.to_thread(_request, f"{self.url}/api/v1/write", body)
                self._pushed_until = begin = end

    async def _keep_pushing(self) -> None:
        """A running world's metrics follow its clock."""
        while True:
            await asyncio.sleep(1 if self.live.clock.speed else 60)
            try:
                await self.push()
            except OSError as error:
                print(f"forge-demo: metrics could not be written to Prometheus, trying again: {error}", file=sys.stderr)

    async def _stop(self) -> None:
        if self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), 10)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        self._folder.cleanup()


def _window(
    everything: Iterable[metrics.Series], begin: float, end: float
) -> Iterable[tuple[dict[str, str], list[tuple[int, float]]]]:
    for one in everything:
        samples = list(one.samples(begin, end))
        if samples:
            yield {"__name__": one.name, **one.labels}, samples


def _request(url: str, body: bytes | None) -> None:
    """GET, or POST a remote write. Raises OSError with the server's words."""
    request = urllib.request.Request(url, body, remote_write.HEADERS if body is not None else {})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=20):  # noqa: S310
            pass
    except urllib.error.HTTPError as error:
        raise OSError(f"{url} answered {error.code}: {error.read()[:300]!r}") from error


def _end_of(log: Path) -> str:
    return log.read_text()[-800:]


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
