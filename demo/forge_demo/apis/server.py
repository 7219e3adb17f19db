"""One application: each API under its own prefix, and the world's own handles under /_world."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from forge_demo import faults, jira_tales, truth
from forge_demo.apis import github, github_hands, jira, langfuse, prometheus
from forge_demo.apis.common import Live, answer
from forge_demo.apis.faulty import Faulty, turn_off, turn_on
from forge_demo.faults import Fault

PREFIXES = {"langfuse": "/langfuse", "github": "/github/api/v3", "jira": "/jira", "jiraDataCenter": "/jira-dc"}


def application(live: Live) -> ASGIApp:
    """The ASGI application."""
    handles = _Handles(live)
    apis = Starlette(
        routes=[
            Mount("/langfuse", routes=langfuse.routes(live)),
            Mount("/github", routes=github.routes(live)),
            Mount("/jira", routes=jira.routes(live, cloud=True)),
            Mount("/jira-dc", routes=jira.routes(live, cloud=False)),
            Mount("/prometheus", routes=prometheus.routes(live)),
            Route("/_world", handles.summary),
            Route("/_world/advance", handles.advance, methods=["POST"]),
            Route("/_world/tickets", handles.tickets, methods=["POST"]),
            Route("/_world/truth", handles.truth),
            Route("/_world/jira", handles.jira, methods=["POST"]),
            Route("/_world/langfuse/traces", handles.delete_traces, methods=["DELETE"]),
            Route("/_world/faults", handles.faults, methods=["GET", "POST", "DELETE"]),
            Route("/_world/settings", handles.settings, methods=["POST"]),
            Route("/_world/github", handles.github, methods=["GET", "POST"]),
        ]
    )
    return Faulty(apis, live)


class _Handles:
    """What the real systems do not have: the hands of a test or a demo on the world. No authentication."""

    def __init__(self, live: Live) -> None:
        self.live = live

    async def summary(self, request: Request) -> Response:
        """Counts, the clock, and requests served by API; of GitHub's GraphQL by name of the query too."""
        state = self.live.state()
        return answer({**truth.summary(state), "requests": self.live.requests})

    async def advance(self, request: Request) -> Response:
        """{"days": 1, "hours": 2, "minutes": 3}: let time pass."""
        given = await _body(request)
        names = ("days", "hours", "minutes", "seconds")
        unknown = set(given) - set(names)
        by = timedelta(**{name: float(given.get(name, 0)) for name in names})
        if unknown or by <= timedelta(0):
            return answer({"error": f"write a positive number of some of {', '.join(names)}; found {given}"}, 400)
        before = self.live.state().version
        self.live.clock.advance(by)
        await self.live.settle()
        state = self.live.state()
        return answer({**truth.summary(state), "events": state.version - before})

    async def tickets(self, request: Request) -> Response:
        """{"count": 3, "minutes": 5}: new tickets whose whole stories happen within the next minutes.

        A clock that stands is moved over them; one that runs gets there by itself.
        """
        given = await _body(request)
        count, minutes = int(given.get("count", 1)), float(given.get("minutes", 5))
        if not 1 <= count <= 1000 or not 0.1 <= minutes <= 1440:
            return answer({"error": "count must be 1 to 1000, minutes 0.1 to 1440"}, 400)
        self.live.state()
        span = timedelta(minutes=minutes)
        keys = self.live.world.inject(count, span)
        if self.live.clock.speed == 0:
            self.live.clock.advance(span)
            await self.live.settle()
        return answer(
            {**truth.summary(self.live.state()), "tickets": keys, "doneAt": truth.plain(self.live.world.now + span)}
        )

    async def jira(self, request: Request) -> Response:
        """{"do": "move", "issue": key, "to": project}, {"do": "delete" or "restore", "issue": key}: as of now."""
        given = await _body(request)
        self.live.state()
        try:
            happened = jira_tales.on_demand(self.live.world.state.site, self.live.world.now, given)
        except ValueError as error:
            return answer({"error": str(error)}, 400)
        self.live.world.happen(happened)
        return answer(truth.summary(self.live.state()))

    async def truth(self, request: Request) -> Response:
        """Ground truth by ticket; ?table=langfuse_traces (and so on): the expected bronze rows."""
        self.live.state()
        table = request.query_params.get("table")
        if table is None:
            return answer(truth.plain(truth.everything(self.live.world.past)))
        if table not in truth.TABLES:
            return answer({"error": f"no table {table}; there are {', '.join(truth.TABLES)}"}, 404)
        return answer(truth.plain(truth.TABLES[table](self.live.world.state)))

    async def delete_traces(self, request: Request) -> Response:
        """DELETE ?count=3: so many of Langfuse's traces are deleted now, with their observations and scores."""
        count = request.query_params.get("count", "1")
        if not count.isdigit() or not 1 <= int(count) <= 10_000:
            return answer({"error": "count must be 1 to 10000"}, 400)
        self.live.state()
        return answer({"deleted": self.live.world.delete_traces(int(count))})

    async def faults(self, request: Request) -> Response:
        """POST {"kind", "path": regex, "times", "probability", "seconds"} or {"profile", "seed"}: turn on; DELETE: off.

        The kinds are those of forge_demo.faults.KINDS; the kind answer takes "status", "headers", "body",
        "delay_seconds", "truncate_bytes".
        """
        if request.method == "POST":
            given = await _body(request)
            self.live.faults.seed = int(given.pop("seed", self.live.faults.seed))
            try:
                wanted = faults.profile(given.pop("profile")) if "profile" in given else [Fault(**given)]
            except (TypeError, ValueError) as error:
                return answer({"error": str(error)}, 400)
            for fault in wanted:
                await turn_on(self.live, fault)
        elif request.method == "DELETE":
            turn_off(self.live)
        names = ("kind", "path", "times", "probability", "seconds", "status", "struck")
        shown = [{name: getattr(fault, name) for name in names} for fault in self.live.faults.standing]
        return answer({"faults": shown, "seed": self.live.faults.seed})

    async def settings(self, request: Request) -> Response:
        """POST {"langfuse_v2": false, "rate_limits": {"github": 50}, ...}: change how the APIs behave."""
        given = await _body(request)
        settings = self.live.settings
        for name, value in given.items():
            if name == "credentials" or not hasattr(settings, name):
                return answer({"error": f"no setting {name!r} that can be changed"}, 400)
            setattr(settings, name, value)
        if "rate_limits" in given:
            self.live.budgets.clear()
        return answer({"rate_limits": settings.rate_limits, "langfuse_v2": settings.langfuse_v2})

    async def github(self, request: Request) -> Response:
        """GET: what a Secret of its GitHub App holds. POST: rename, transfer, delete, body; see github_hands.act."""
        if request.method == "GET":
            return answer(self.live.github_secret() if self.live.github_secret else {})
        try:
            return answer(github_hands.act(self.live, await _body(request)))
        except (ValueError, KeyError) as error:
            return answer({"error": str(error)}, 400)


async def _body(request: Request) -> dict[str, Any]:
    try:
        found = await request.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
