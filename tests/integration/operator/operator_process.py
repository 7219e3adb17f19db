"""The operator as a process, as the tests start and stop it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from own import free_port


@dataclass
class Operator:
    """A running operator; `start` and `stop` as often as a test likes."""

    namespace: str
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it is alive."""
        port = free_port()
        # Images that are never pulled: what is tested here is what the API server holds, and pods stay as still as it.
        names = ("STORE", "PIPELINES", "DBT", "API")
        images = {f"FORGE_IMAGE_{name}": f"forge.test/{name.lower()}:none" for name in names}
        policies = {f"FORGE_IMAGE_{name}_PULL_POLICY": "Never" for name in names}
        environment = {
            **os.environ,
            **images,
            **policies,
            "FORGE_WATCH_NAMESPACES": self.namespace,
            # An installed operator leaves the tests' stacks alone.
            "FORGE_OPERATOR_CLASS": "test",
            "FORGE_HEALTH_PORT": str(port),
            # Longer than any test waits: what is seen is seen by the watches.
            "FORGE_RESYNC_SECONDS": "3600",
            "FORGE_LOG_LEVEL": "debug",
            **self.environment,
        }
        program = str(Path(sys.executable).parent / "forge-operator")
        with (self.folder / "operator.log").open("ab") as log:
            self.process = subprocess.Popen([program], env=environment, stdout=log, stderr=log)
        end = time.monotonic() + 180
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2)
                return
            except (urllib.error.URLError, OSError):
                if time.monotonic() > end or self.process.poll() is not None:
                    pytest.fail(f"the operator did not start:\n{self.log()[-3000:]}", pytrace=False)
                time.sleep(0.1)

    def stop(self, kill: bool = False) -> None:
        """Stop as Kubernetes does, or at once."""
        if self.process is not None:
            (self.process.kill if kill else self.process.terminate)()
            self.process.wait(60)
            self.process = None

    def log(self) -> str:
        """What it said, by whole lines: it may be about to say more."""
        said, end, _ = (self.folder / "operator.log").read_text().rpartition("\n")
        return said + end

    def rss_mib(self) -> float:
        """Its resident memory."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024
