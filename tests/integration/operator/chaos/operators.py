"""Operators as processes, as the chaos tests start, kill and freeze them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from own import free_port

CLASS = "chaos"


@dataclass
class Operator:
    """A running operator."""

    process: int
    log: Path

    def alive(self) -> bool:
        """Whether it runs, or is frozen."""
        with contextlib.suppress(OSError):
            return Path(f"/proc/{self.process}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
        return False

    def send(self, which: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process, which)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.wait_gone()

    def wait_gone(self, seconds: float = 180) -> None:
        end = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > end:
                self.send(signal.SIGUSR1)  # it says where it stands
                time.sleep(1)
                raise AssertionError(f"the operator {self.process} does not end:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.01)


class Operators:
    """Starts operators of one plane; `stop` ends all that still run."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        self.folder = folder
        self._kubeconfig = kubeconfig
        self._lock = threading.Lock()
        self._began: list[Operator] = []
        runner = [sys.executable, str(Path(__file__).with_name("runner.py"))]
        self._runner = subprocess.Popen(runner, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(
        self, namespace: str, *, kubeconfig: Path | None = None, election: bool = False, **chaos: Any
    ) -> Operator:
        """One more operator for the stacks of a namespace; `chaos` is what `runner.begin` takes."""
        environment = {
            **{f"FORGE_IMAGE_{name}": f"forge.test/{name.lower()}:1" for name in ("STORE", "PIPELINES", "DBT", "API")},
            "KUBECONFIG": str(kubeconfig or self._kubeconfig),
            "FORGE_WATCH_NAMESPACES": namespace,
            "FORGE_OPERATOR_NAMESPACE": namespace if election else "default",
            "FORGE_OPERATOR_CLASS": CLASS,
            "FORGE_LEADER_ELECTION": "true" if election else "false",
            "FORGE_HEALTH_PORT": str(free_port()),
            "FORGE_RESYNC_SECONDS": "3600",  # longer than any test waits
            "FORGE_LOG_LEVEL": "debug",
        }
        log = self.folder / f"{namespace}.log"
        with self._lock:
            assert self._runner.stdin and self._runner.stdout
            self._runner.stdin.write(json.dumps({"environment": environment, "log": str(log), **chaos}) + "\n")
            self._runner.stdin.flush()
            operator = Operator(int(self._runner.stdout.readline()), log)
            self._began.append(operator)
        return operator

    def stop(self) -> None:
        for operator in self._began:
            operator.send(signal.SIGKILL)
        assert self._runner.stdin
        self._runner.stdin.close()
        self._runner.wait(60)
