"""The program `forge-operator`: kopf and the reflectors watch, the queue gathers, the reconciler works."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Any, cast

import kopf

from forge_operator.api import PAGE, TROUBLE, Api, in_cluster
from forge_operator.controller import Controller
from forge_operator.leader import LeadershipLostError, lead
from forge_operator.logs import configure_logging
from forge_operator.names import STACK, class_selector
from forge_operator.serve import serving
from forge_operator.settings import Settings

logger = logging.getLogger(__name__)

LONGEST_STOP = 15.0
"""Seconds in which everything must have ended once one part has; Kubernetes kills a pod after 20 (the chart)."""


def main() -> None:
    """Run until SIGTERM. Exit code 2: the environment is not complete."""
    try:
        settings = Settings.read()
    except ValueError as error:
        sys.exit(f"forge-operator: {error}")
    configure_logging()
    try:
        asyncio.run(run(settings))
    except LeadershipLostError as error:
        sys.exit(f"forge-operator: {error}")


async def run(settings: Settings) -> None:
    """Connect, watch, and work while this process leads. The first part that ends takes the others with it."""
    async with Api.connect(settings.request_timeout) as api:
        controller = Controller(api, settings)
        async with serving(controller, settings.health_port):
            stop = asyncio.Event()
            parts = [asyncio.create_task(controller.watch()), asyncio.create_task(lead(api, settings, controller.run))]
            for part in parts:
                part.add_done_callback(lambda _: stop.set())

            async def stop_working(**_: Any) -> None:
                for part in parts:
                    part.cancel()
                await asyncio.gather(*parts, return_exceptions=True)

            registry = wiring(controller)
            # As a handler, before kopf ends: it takes tasks that it did not start for hung, and waits for them.
            kopf.on.cleanup(registry=registry, id="stop")(stop_working)
            watching = asyncio.create_task(watch_stacks(api, settings, registry, stop))
            await asyncio.wait([watching, *parts], return_when=asyncio.FIRST_COMPLETED)
            _, hung = await asyncio.wait([watching, *parts], timeout=LONGEST_STOP)
            if hung:
                # Better an end without manners than a process that answers its probes and does nothing.
                logger.error("not stopped within %.0f s: %s", LONGEST_STOP, ", ".join(map(repr, hung)))
                os._exit(1)
            await watching
        for part in parts:
            if not part.cancelled() and (error := part.exception()) is not None:
                raise error


async def watch_stacks(api: Api, settings: Settings, registry: kopf.OperatorRegistry, stop: asyncio.Event) -> None:
    """Run kopf until it is told to stop. What it does not find when it starts it never looks for again, so it starts
    when the API server has the kind."""
    while not (stop.is_set() or await _serves_stacks(api)):  # noqa: ASYNC110 - nothing tells when it does
        await asyncio.sleep(1)
    await kopf.operator(
        registry=registry,
        settings=kopf_settings(settings),
        standalone=True,
        clusterwide=not settings.watch_namespaces,
        namespaces=settings.watch_namespaces,
        stop_flag=stop,
    )


async def _serves_stacks(api: Api) -> bool:
    try:
        return await api.serves(STACK)
    except TROUBLE as error:
        logger.warning("the API server was not asked for its kinds: %r", error)
        return False


def wiring(controller: Controller) -> kopf.OperatorRegistry:
    """The handlers: kopf watches the stacks, and tells the controller. They are coroutines, for kopf runs others in
    threads. What stacks are made of is watched by `forge_operator.watch`: thousands of objects, of which a little is
    kept, would each pay for the whole of a handler's machinery."""
    registry = kopf.OperatorRegistry()

    async def heard(event: kopf.RawEvent, **_: Any) -> None:
        item: dict[str, Any] = dict(event["object"])
        controller.stacks.hear(event["type"], item)
        # kopf holds what it told for some seconds; of hundreds of stacks at once that is tens of megabytes.
        for part in ("spec", "status"):
            cast("dict[str, Any]", event["object"]).pop(part, None)

    kopf.on.event(STACK.group, STACK.version, STACK.plural, registry=registry, id="stack")(heard)
    login = kopf.login_with_service_account if in_cluster() else kopf.login_with_kubeconfig
    kopf.on.login(registry=registry, id="login")(login)
    return registry


class _NoDifferences(kopf.DiffBaseStorage):
    """kopf would work out what changed in every object; nobody asks it."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:
        """Nothing."""
        return cast("kopf.BodyEssence", {})

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        """Nothing."""
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Nowhere."""


class _NoProgress(kopf.ProgressStorage):
    """kopf would look for the progress of handlers in every object; there are none that progress."""

    def fetch(self, *, key: Any, body: kopf.Body) -> None:
        """Nothing."""

    def store(self, *, key: Any, record: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Nowhere."""

    def purge(self, *, key: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Nothing is there."""

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: str | None) -> None:
        """Nothing is there."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        """As it is."""
        return essence


def kopf_settings(settings: Settings) -> kopf.OperatorSettings:
    """kopf as a watcher: no posting, no peering, no scanning; only what carries our labels."""
    result = kopf.OperatorSettings()
    result.posting.enabled = False
    result.scanning.disabled = True
    result.networking.request_timeout = settings.request_timeout
    result.networking.connect_timeout = 5
    result.watching.server_timeout = 300
    result.watching.connect_timeout = 5
    result.watching.chunk_size = PAGE
    result.persistence.diffbase_storage, result.persistence.progress_storage = _NoDifferences(), _NoProgress()
    result.persistence.finalizer = f"{STACK.group}/never-set"
    result.watching.label_selectors[STACK.group, STACK.version, STACK.plural] = class_selector(settings.operator_class)
    return result


if __name__ == "__main__":
    logging.captureWarnings(True)
    main()
