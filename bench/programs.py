"""Our programs as child processes, and what a load cost: seconds, memory, summary."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from forge_demo.settings import Credentials

BIN = Path(sys.executable).parent
_DEMO = Credentials()
SECRETS: dict[str, dict[str, str]] = {
    "langfuse": {"publicKey": _DEMO.langfuse_public_key, "secretKey": _DEMO.langfuse_secret_key},
    "github": {"token": _DEMO.github_token},
    "jira": {"email": _DEMO.jira_email, "token": _DEMO.jira_token},
    "prometheus": {},
}
"""What the simulated organisation accepts, as Secrets."""


@contextmanager
def started(*args: str, ready: Path, stdout: Path | None = None) -> Iterator[int]:
    """A program of ours, up once its file is written; ended afterwards. Gives its process id."""
    with (stdout or Path(os.devnull)).open("wb") as out:
        child = subprocess.Popen([str(BIN / args[0]), *args[1:]], stdout=out)
        try:
            end = time.monotonic() + 300
            while not (ready.exists() and ready.read_text().strip()):
                if child.poll() is not None:
                    raise RuntimeError(f"{args[0]} ended with {child.returncode}")
                if time.monotonic() > end:
                    raise RuntimeError(f"{args[0]} was not ready within 300 s")
                time.sleep(0.1)
            yield child.pid
        finally:
            child.terminate()
            child.wait(30)


@contextmanager
def store(folder: Path) -> Iterator[int]:
    """An embedded store with an empty folder; gives its port."""
    port = folder / "port"
    (folder / "config").mkdir()
    args = ("forge-store", "serve", "--data", f"{folder}/data", "--config-dir", f"{folder}/config")
    with started(*args, "--port", "0", "--port-file", str(port), ready=port) as pid:
        (folder / "store.pid").write_text(str(pid))
        yield int(port.read_text())


def peak_memory_mb(folder: Path) -> float:
    """The most memory that the store in the folder has had, resident (VmHWM of proc(5))."""
    status = Path("/proc", (folder / "store.pid").read_text(), "status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


@contextmanager
def world(folder: Path, *args: str) -> Iterator[World]:
    """The simulated organisation."""
    file = folder / "world.json"
    with started("forge-demo", "serve", *args, ready=file, stdout=file):
        yield World(json.loads(file.read_text())["urls"])


@dataclass(frozen=True)
class World:
    """The URLs of a served world."""

    urls: dict[str, str]

    def ask(self, path: str = "", body: Any = None) -> Any:
        """What /_world says."""
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(self.urls["world"] + path, data=data), timeout=300) as answer:
            return json.loads(answer.read())

    def served(self, *names: str) -> int:
        """Requests that an API (or a query of GitHub's GraphQL, `github NAME`) has answered so far."""
        requests = self.ask()["requests"]
        return sum(int(requests.get(name, 0)) for name in names)


@dataclass(frozen=True)
class Load:
    """A finished `forge-load`."""

    seconds: float
    memory_mb: float
    summary: dict[str, Any]

    @property
    def rows(self) -> dict[str, int]:
        """Rows written, by table."""
        found: dict[str, int] = self.summary["rows"]
        return found


def load(folder: Path, port: int, source: dict[str, Any], **env: str) -> Load:
    """`forge-load` as the operator starts it; seconds are those of the whole process, memory its peak resident set."""
    name = source["name"]
    kind = next(key for key in SECRETS if key in source)
    credentials, work = folder / f"{name}-secret", folder / f"{name}-work"
    credentials.mkdir(exist_ok=True)
    for key, value in SECRETS[kind].items():
        (credentials / key).write_text(value)
    work.mkdir(exist_ok=True)
    (folder / "dsn").write_text(f"http://default:@127.0.0.1:{port}")
    log, ended = folder / f"{name}.log", folder / f"{name}.json"
    given = {
        "FORGE_SOURCE": json.dumps(source),
        "FORGE_STORE_DSN_FILE": str(folder / "dsn"),
        "FORGE_CREDENTIALS_DIR": str(credentials),
        "FORGE_WORK_DIR": str(work),
        "FORGE_TERMINATION_LOG": str(ended),
    }
    with log.open("wb") as out:
        begun = time.monotonic()
        command = [str(BIN / "forge-load"), name]
        # As in an image: byte code is there.
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | given | env
        child = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
        _, status, usage = os.wait4(child.pid, 0)
        took = time.monotonic() - begun
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"forge-load {name}: {ended.read_text() if ended.exists() else log.read_text()[-1000:]}")
    return Load(took, usage.ru_maxrss / 1024, json.loads(ended.read_text()))
