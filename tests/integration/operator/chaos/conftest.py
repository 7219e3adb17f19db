"""One plane for all chaos tests, its recorder, and operators at will."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from faults import Proxy
from life import Life, failing
from operators import Operators
from plane import Plane
from recorder import Client, Recorder


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A real API server and etcd, played nodes; loads and transforms take up to a second."""
    with Plane(
        tmp_path_factory.mktemp("p") / "p", nodes=3, job_seconds=0.4, job_jitter=0.6, stages=[failing()]
    ) as plane:
        yield plane


@pytest.fixture(scope="session")
def client(plane: Plane) -> Client:
    return Client(plane.kubeconfig)


@pytest.fixture(scope="session")
def recorder(client: Client) -> Iterator[Recorder]:
    recorder = Recorder(client)
    yield recorder
    recorder.stop()


@pytest.fixture(scope="session")
def operators(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operators]:
    operators = Operators(plane.kubeconfig, tmp_path_factory.mktemp("operators"))
    yield operators
    operators.stop()


@pytest.fixture(scope="session")
def proxy(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """What stands between an operator and the API server where a test wants faults."""
    proxy = Proxy(client, tmp_path_factory.mktemp("proxies"))
    yield proxy
    proxy.close()


@pytest.fixture(scope="session")
def new_life(client: Client, recorder: Recorder, operators: Operators) -> Callable[..., Life]:
    """Lives in namespaces of their own."""
    numbers = itertools.count(1)

    def make(what: str = "life", **more: Any) -> Life:
        number = next(numbers)
        namespace = f"{what}-{number}"
        return Life(client, recorder.view(namespace), operators, namespace, seed=number, **more)

    return make


@pytest.fixture(scope="session")
def together() -> Callable[..., list[str]]:
    """Run functions beside one another; gives what each that failed said."""

    def run(tasks: dict[str, Callable[[], None]], at_once: int) -> list[str]:
        def outcome(name: str, task: Callable[[], None]) -> str:
            try:
                task()
            except Exception as error:
                return f"{name}: {error if isinstance(error, AssertionError) else repr(error)}"
            return ""

        with ThreadPoolExecutor(at_once) as pool:
            return [told for told in pool.map(outcome, tasks, tasks.values()) if told]

    return run
