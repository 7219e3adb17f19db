"""kubectl for tests: one namespace, whole output in each failure, waiting that tells what it waited for."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest


def command(*args: str, stdin: str | None = None, check: bool = True) -> str:
    """Run a command; its whole output is in the failure."""
    done = subprocess.run(args, input=stdin, capture_output=True, text=True, check=False)
    if check and done.returncode:
        pytest.fail(f"{' '.join(args)}\nexit code {done.returncode}\n{done.stdout}\n{done.stderr}", pytrace=False)
    return done.stdout if check else done.stdout + done.stderr


class Kubectl:
    """kubectl in one namespace."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def __call__(self, *args: str, stdin: str | None = None, check: bool = True) -> str:
        return command("kubectl", "-n", self.namespace, *args, stdin=stdin, check=check)

    def json(self, *args: str) -> Any:
        """What `kubectl get` says, as data."""
        return json.loads(self("get", *args, "-o", "json"))

    def names(self, kinds: str, selector: str = "") -> list[str]:
        """Names of objects, as kind/name."""
        return self("get", kinds, "-o", "name", *(["-l", selector] if selector else [])).split()

    def condition(self, stack: str, name: str) -> dict[str, str]:
        """One condition of a stack; empty while it is not there."""
        conditions = self.json("obs", stack).get("status", {}).get("conditions", [])
        return next((c for c in conditions if c["type"] == name), {})


def eventually(what: str, probe: Callable[[], Any], every: float = 1.0, seconds: float = 300) -> Any:
    """Ask until the answer is true; the failure tells what was waited for and the last answer.

    The limit is for a machine that is slow or busy. Where soon is promised, measure how long it took.
    """
    end = time.monotonic() + seconds
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > end:
            pytest.fail(f"not within {seconds:.0f} s: {what}; last answer: {answer!r}", pytrace=False)
        time.sleep(every)
