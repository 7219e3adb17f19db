"""Operators as processes that start fast and can be killed at an exact line; driven by its standard input.

It imports the operator's program once and forks a child for each one that is asked for, so that a start costs no
imports. What a test wants to be different is put around the program from outside, in the child: the product has no
hook.

A line in: JSON with `environment`, `log` (a file), and what else `begin` names. A line out: the child's process id.
"""

from __future__ import annotations

import asyncio
import ctypes
import datetime as real
import gc
import json
import os
import signal
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

from forge_operator import main as program
from forge_operator.api import Api
from forge_stack import decisions
from kubernetes.aio.config import kube_config

PR_SET_PDEATHSIG = 1


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    gc.freeze()
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            begin(**asked)
        print(child, flush=True)


def begin(
    environment: dict[str, str],
    log: str,
    *,
    crash: list[Any] | None = None,
    labels: str = "",
    skew: float = 0.0,
    retry: float = 1.0,
) -> None:
    """The child: run the operator until it ends.

    `crash` is [label, "before" or "after", n]: it dies by SIGKILL at the n-th write of that label, before it is sent or
    when its answer is there. `labels` is a file for the labels of all writes. The clock is `skew` seconds ahead.
    Failed loads and transforms are tried again after `retry` seconds, not 30.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # it ends with the test, however that ends
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.update(environment)
    kube_config.KUBE_CONFIG_DEFAULT_LOCATION = environment["KUBECONFIG"]  # it was read at the import
    signal.signal(signal.SIGUSR1, lambda *_: tell_tasks())
    decisions.FIRST_RETRY = real.timedelta(seconds=retry)
    if crash or labels:
        wrap_writes(crash, labels)
    if skew:
        shift_clocks(skew)
    code = 1
    try:
        program.main()
        code = 0
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else 1
        print(f"exit: {exit_.code}")
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def tell_tasks() -> None:
    """Write down where every task stands: for a process that does not end as it should."""
    for task in asyncio.all_tasks(asyncio.get_event_loop()):
        task.print_stack(limit=4)
    sys.stderr.flush()


def wrap_writes(crash: list[Any] | None, labels: str) -> None:
    """Know each write by its label; die where that is asked for."""
    send, counts = Api.request, Counter[str]()
    wanted, when, number = crash or ("", "", 0)
    book = Path(labels).open("a", buffering=1) if labels else None  # noqa: SIM115 - as long as the process

    async def request(self: Api, method: str, path: str, **more: Any) -> Any:
        label = label_of(method, path, more.get("body"), more.get("content_type", ""))
        if not label:
            return await send(self, method, path, **more)
        counts[label] += 1
        here = label == wanted and counts[label] == number
        if book is not None:
            book.write(f"{label}\n")
        if here and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = await send(self, method, path, **more)
        if here:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    Api.request = request  # type: ignore[method-assign, assignment]


def label_of(method: str, path: str, body: Any, content_type: str) -> str:
    """What a write is, in words that are the same in every life of a stack; empty for what is none of a stack's."""
    if method == "GET":
        return ""
    parts = path.split("/")
    after = parts[parts.index("namespaces") + 2 :] if "namespaces" in parts else parts[-1:]
    plural, name, subresource = (*after, "", "")[:3]
    if plural in ("leases", "selfsubjectaccessreviews"):
        return ""
    if plural == "events":
        return f"create event {body['reason']}"
    if subresource:
        return f"write {plural}/{subresource} {stage_of(body)}"
    verb = {"POST": "create", "PUT": "replace", "DELETE": "delete"}.get(
        method, "apply" if "apply" in content_type else "patch"
    )
    if not name and isinstance(body, dict):
        name = body["metadata"]["name"]
    return f"{verb} {plural} {name}"


def stage_of(stack: Any) -> str:
    """How far a status has come."""
    status = stack.get("status", {}) if isinstance(stack, dict) else {}
    ready = next((c["reason"] for c in status.get("conditions", []) if c["type"] == "Ready"), "")
    transform = status.get("transform", {})
    return f"sequence={transform.get('sequence', 0)} failures={transform.get('failures', 0)} ready={ready}"


def shift_clocks(seconds: float) -> None:
    """Let the operator believe that it is later (earlier when negative) than it is; its timers run as before."""
    ahead = real.timedelta(seconds=seconds)
    true_time, true_datetime = time.time, real.datetime

    class Shifted(real.datetime):
        @classmethod
        def now(cls, tz: real.tzinfo | None = None) -> Any:
            return true_datetime.now(tz) + ahead

        @classmethod
        def utcnow(cls) -> Any:
            return true_datetime.now(real.UTC).replace(tzinfo=None) + ahead

    time.time = lambda: true_time() + seconds
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in ("forge_operator", "forge_stack") and vars(module).get("datetime") is true_datetime:
            module.datetime = Shifted  # type: ignore[attr-defined]


if __name__ == "__main__":
    assert asyncio.get_event_loop_policy() is not None  # made before the first fork
    main()
