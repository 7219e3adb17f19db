"""The program `forge-operator`: kopf watches and wakes, the queue gathers, the reconciler works."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Mapping
from typing import Any

import kopf

from forge_operator.api import Api, in_cluster
from forge_operator.controller import Controller
from forge_operator.leader import lead
from forge_operator.logs import configure_logging
from forge_operator.names import CHILDREN, STACK, STACK_LABEL, class_selector, selector
from forge_operator.settings import Settings


def main() -> None:
    """Run until SIGTERM. Exit code 2: the environment is not complete."""
    try:
        settings = Settings.read()
    except ValueError as error:
        sys.exit(f"forge-operator: {error}")
    configure_logging()
    asyncio.run(run(settings))


async def run(settings: Settings) -> None:
    """Connect, watch, and work while this process leads."""
    async with Api.connect(settings.request_timeout) as api:
        controller = Controller(api, settings)
        stop = asyncio.Event()
        work = asyncio.create_task(lead(api, settings, controller.run))
        work.add_done_callback(lambda _: stop.set())

        async def stop_working(**_: Any) -> None:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

        registry = wiring(controller)
        # As a handler, before kopf ends: it takes tasks that it did not start for hung, and waits for them.
        kopf.on.cleanup(registry=registry, id="stop")(stop_working)
        await kopf.operator(
            registry=registry,
            settings=kopf_settings(settings),
            standalone=True,
            clusterwide=not settings.watch_namespaces,
            namespaces=settings.watch_namespaces,
            liveness_endpoint=f"http://0.0.0.0:{settings.health_port}/healthz",
            stop_flag=stop,
        )
        if not work.cancelled() and (error := work.exception()) is not None:
            raise error


def wiring(controller: Controller) -> kopf.OperatorRegistry:
    """The handlers. None does more than add a key to the queue; all are coroutines, for kopf runs others in threads."""
    registry = kopf.OperatorRegistry()

    async def woken(namespace: str | None, name: str | None, **_: Any) -> None:
        controller.wake((namespace or "", name or ""))

    async def child_changed(namespace: str | None, labels: Mapping[str, str], **_: Any) -> None:
        controller.wake((namespace or "", labels.get(STACK_LABEL, "")))

    async def alive(**_: Any) -> str:
        return controller.check_alive()

    kopf.on.event(STACK.group, STACK.version, STACK.plural, registry=registry, id="stack")(woken)
    for kind in CHILDREN.values():
        kopf.on.event(kind.group, kind.version, kind.plural, registry=registry, id=kind.plural)(child_changed)
    kopf.on.probe(registry=registry, id="alive", errors=kopf.ErrorsMode.PERMANENT)(alive)
    login = kopf.login_with_service_account if in_cluster() else kopf.login_with_kubeconfig
    kopf.on.login(registry=registry, id="login")(login)
    return registry


def kopf_settings(settings: Settings) -> kopf.OperatorSettings:
    """kopf as a watcher: no posting, no peering, no scanning; only what carries our labels."""
    result = kopf.OperatorSettings()
    result.posting.enabled = False
    result.scanning.disabled = True
    result.networking.request_timeout = settings.request_timeout
    result.networking.connect_timeout = 5
    result.watching.server_timeout = 300
    result.watching.connect_timeout = 5
    result.watching.chunk_size = 500
    result.persistence.finalizer = f"{STACK.group}/never-set"
    result.watching.label_selectors[STACK.group, STACK.version, STACK.plural] = class_selector(settings.operator_class)
    for kind in CHILDREN.values():
        result.watching.label_selectors[kind.group, kind.version, kind.plural] = selector()
    return result


if __name__ == "__main__":
    logging.captureWarnings(True)
    main()
