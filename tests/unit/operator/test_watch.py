"""Watches and the liveness probe, against a small HTTP server that plays an API server with a defect."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from forge_operator import api as api_module
from forge_operator import controller as controller_module
from forge_operator import watch
from forge_operator.api import Api
from forge_operator.controller import Controller
from forge_operator.names import CHILDREN
from forge_operator.watch import Collection, Reflector
from kubernetes.aio.client import ApiClient, Configuration
from stack_objects import make_settings

Watch = Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]]
LONG = 60.0
"""Seconds; a limit that only a test that fails reaches."""


async def silent(request: web.Request) -> web.StreamResponse:
    """Taken on, and never a word."""
    response = web.StreamResponse()
    await response.prepare(request)
    await asyncio.sleep(LONG)
    return response


async def no_answer(request: web.Request) -> web.StreamResponse:
    """Not even taken on."""
    await asyncio.sleep(LONG)
    return web.StreamResponse()


async def broken(request: web.Request) -> web.StreamResponse:
    """Taken on, and ended at once by an error in the stream."""
    error = {"type": "ERROR", "object": {"code": 500, "reason": "InternalError", "message": "no"}}
    return web.Response(text=json.dumps(error) + "\n")


class Nobody:
    """A sink that keeps nothing."""

    def put(self, item: object) -> None: ...
    def drop(self, item: object) -> None: ...
    def keep(self, collection: object, names: object, version: object) -> None: ...


@asynccontextmanager
async def serving(watches: dict[str, Watch]) -> AsyncIterator[Api]:
    """An API server that has nothing; of each kind (by its plural; all others are silent) how it answers a watch."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            return await watches.get(request.path.rsplit("/", 1)[-1], silent)(request)
        return web.json_response({"metadata": {"resourceVersion": "7"}, "items": [], "resources": []})

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    async with ApiClient(Configuration(host=f"http://{host}:{port}")) as client:
        api = Api(client, 5)
        try:
            yield api
        finally:
            await asyncio.gather(api._session.close(), api._streams.close())
            await runner.cleanup()


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(LONG):
        while not holds():  # noqa: ASYNC110 - nothing tells when it does
            await asyncio.sleep(0.01)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of each pause between two watches, after how many failures in a row it was made."""
    made: list[int] = []

    def back_off(failures: int) -> float:
        made.append(failures)
        return 0.01

    monkeypatch.setattr(watch, "back_off", back_off)
    monkeypatch.setattr(watch, "SHORT", 0.05)
    monkeypatch.setattr(api_module, "SILENCE_SECONDS", 0.2)
    return made


async def follow(answer: Watch, pauses: list[int], count: int) -> float:
    """Follow a kind through that many ends of its watch; for how many seconds nothing was heard of it then."""
    kind = CHILDREN["Ingress"]
    async with serving({kind.plural: answer}) as api:
        reflector = Reflector(api, Collection(kind), Nobody())
        running = asyncio.create_task(reflector.run())
        await until(lambda: len(pauses) >= count)
        running.cancel()
        return time.monotonic() - reflector.heard


def test_a_watch_that_is_taken_on_and_has_nothing_to_tell_is_no_failure(pauses: list[int]) -> None:
    """Without news of etcd's progress, no bookmark comes of a kind that never changes."""
    silent_for = asyncio.run(follow(silent, pauses, 6))
    assert set(pauses) == {1}
    assert silent_for < 6 * 0.2, "each watch that was taken on is a word"


def test_a_watch_that_is_not_taken_on_is_silence(pauses: list[int]) -> None:
    silent_for = asyncio.run(follow(no_answer, pauses, 4))
    assert pauses[:4] == [1, 2, 3, 4]
    assert silent_for >= 4 * 0.2


def test_a_watch_that_ends_at_once_is_begun_later_and_later(pauses: list[int]) -> None:
    asyncio.run(follow(broken, pauses, 4))
    assert pauses[:4] == [1, 2, 3, 4]


# The liveness probe


async def stall(watches: dict[str, Watch], *, queue: bool = False) -> str:
    """What the probe says of a controller that leads, once it says that it stands still."""
    async with serving(watches) as api:
        controller = Controller(api, replace(make_settings(), resync=LONG))

        async def never(_: object) -> None:
            await asyncio.sleep(LONG)

        if queue:
            controller._queue._process = never
        said = ""
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(controller.watch()), tasks.create_task(controller.run())]
            await until(lambda: controller._leading)
            if queue:
                controller.wake(("team-a", "acme"))

            def stalled() -> bool:
                nonlocal said
                try:
                    controller.check_alive()
                except RuntimeError as error:
                    said = str(error)
                return bool(said)

            began = time.monotonic()
            async with asyncio.timeout(LONG):
                while not stalled() and time.monotonic() - began < 3:  # noqa: ASYNC110 - nothing tells when it does
                    await asyncio.sleep(0.01)
            for task in running:
                task.cancel()
        return said


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, pauses: list[int]) -> None:
    monkeypatch.setattr(controller_module, "STALLED", 1.5)


@pytest.mark.usefixtures("impatient")
def test_who_hears_nothing_new_but_is_answered_lives() -> None:
    assert asyncio.run(stall({})) == ""


@pytest.mark.usefixtures("impatient")
def test_a_watch_that_stands_still_is_named() -> None:
    assert "ingresses are silent for " in asyncio.run(stall({"ingresses": no_answer}))


@pytest.mark.usefixtures("impatient")
def test_a_queue_that_stands_still_is_told() -> None:
    assert "a stack waits for " in asyncio.run(stall({}, queue=True))
