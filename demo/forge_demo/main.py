"""forge-demo: serve the world, print its truth, print a stack that loads it."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import timedelta
from pathlib import Path

from forge_demo import faults, truth
from forge_demo.settings import Credentials, Settings, read_moment
from forge_demo.world import DEFAULT_DAYS, DEFAULT_SEED, DEFAULT_TICKETS_PER_DAY, World


def main(arguments: list[str] | None = None) -> int:
    """The program. Returns its exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        return int(given.run(given))
    except (ValueError, OSError) as error:
        print(f"forge-demo: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("forge-demo", description=__doc__)
    commands = parser.add_subparsers(required=True)

    serve = commands.add_parser("serve", help="serve the four APIs; prints one line of JSON with their URLs when ready")
    _world_options(serve)
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=0, help="of the three APIs (0: any free one)")
    serve.add_argument("--prometheus-port", type=int, default=0, help="of Prometheus (0: any free one)")
    serve.add_argument("--no-prometheus", action="store_true", help="serve the other three only")
    serve.add_argument("--metrics-days", type=int, default=8, help="how many days Prometheus holds")
    serve.add_argument("--scrape-config", type=Path, help="YAML list of further scrape_configs for Prometheus")
    serve.add_argument("--speed", type=float, default=0.0, help="world seconds a second; 0: the world stands still")
    serve.add_argument("--langfuse", choices=("v4", "v3"), default="v4", help="v3: no v2 and v3 endpoints (404)")
    serve.add_argument("--jira-zone", default="Europe/Berlin", help="time zone of the Jira account")
    serve.add_argument("--latency", type=float, default=0.0, help="seconds that every answer takes longer")
    serve.add_argument(
        "--rate-limit",
        action="append",
        default=[],
        metavar="API=N",
        help="langfuse, github, github_graphql, jira: N an hour",
    )
    serve.add_argument(
        "--faults",
        choices=tuple(faults.PROFILES),
        default="none",
        help="what goes wrong on the way. flaky: limits, errors, cuts, resets, slowness. hostile: that and odd pages, "
        "things that change while they are read, late arrivals, a clock that is off, odd and huge texts. For single "
        "kinds, POST to the world's /faults",
    )
    serve.add_argument("--faults-seed", type=int, default=7, help="the same seed, the same faults")
    serve.set_defaults(run=_serve)

    show = commands.add_parser("truth", help="print the ground truth as JSON")
    _world_options(show)
    show.add_argument("--table", choices=tuple(truth.TABLES), help="expected bronze rows in place of the tickets")
    show.set_defaults(run=_truth)

    stack = commands.add_parser("stack", help="print the stack (and its Secrets) that loads a running demo")
    stack.add_argument("--url", required=True, help="where the APIs are served, e.g. http://forge-demo:8080")
    stack.add_argument(
        "--prometheus-url", required=True, help="where Prometheus is served, e.g. http://forge-demo:9090"
    )
    stack.add_argument("--name", default="demo")
    stack.add_argument("--schedule", default="*/5 * * * *", help="when each source is loaded")
    stack.add_argument("--auth", default="Token", choices=("Token", "None"), help="whether the API asks for a token")
    stack.set_defaults(run=_stack)
    return parser


def _world_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    parser.add_argument("--end", "--now", default="now", help="the world's moment at the start: RFC 3339, now, now-3d")
    parser.add_argument("--days", type=int, default=DEFAULT_DAYS, help="how long the world has been by then")
    parser.add_argument("--tickets-per-day", type=float, default=DEFAULT_TICKETS_PER_DAY)


def _world(given: argparse.Namespace, *, floor_hour: bool = True) -> World:
    end = read_moment(given.end, floor_hour=floor_hour)
    return World.build(given.seed, end=end, days=given.days, tickets_per_day=given.tickets_per_day)


def _serve(given: argparse.Namespace) -> int:
    from forge_demo.serve import serve  # the server's libraries, only where it is needed

    limits = {}
    for text in given.rate_limit:
        name, _, number = text.partition("=")
        if name not in ("langfuse", "github", "github_graphql", "jira") or not number.isdigit():
            raise ValueError(f"--rate-limit {text!r}: write API=N, API one of langfuse, github, github_graphql, jira")
        limits[name] = int(number)
    settings = Settings(
        credentials=Credentials.from_environment(),
        langfuse_v2=given.langfuse == "v4",
        jira_zone=given.jira_zone,
        rate_limits=limits,
        latency_seconds=given.latency,
    )
    return serve(
        _world(given, floor_hour=given.speed == 0),
        settings,
        speed=given.speed,
        host=given.host,
        port=given.port,
        prometheus_port=None if given.no_prometheus else given.prometheus_port,
        metrics_span=timedelta(days=given.metrics_days),
        scrape_config=given.scrape_config,
        faults=faults.profile(given.faults),
        faults_seed=given.faults_seed,
    )


def _truth(given: argparse.Namespace) -> int:
    world = _world(given)
    found = truth.TABLES[given.table](world.state) if given.table else truth.everything(world.past)
    print(json.dumps(truth.plain(found), ensure_ascii=False))
    return 0


def _stack(given: argparse.Namespace) -> int:
    from forge_demo.stack import render

    urls = given.url.rstrip("/"), given.prometheus_url.rstrip("/")
    print(render(given.name, *urls, given.schedule, given.auth, Credentials.from_environment()), end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
