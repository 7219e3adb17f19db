"""`forge-load SOURCE`: one load of one source into bronze (docs/architecture.md, "A load").

Reads the environment, runs the load, writes the summary. Exit code 0: complete, or stopped at a clean cursor; 1:
failed.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from importlib.abc import MetaPathFinder
from pathlib import Path
from urllib.parse import unquote, urlsplit

from forge_stack.model import Source
from forge_stack.wire import (
    ENV_CREDENTIALS_DIR,
    ENV_INTERVAL_END,
    ENV_INTERVAL_START,
    ENV_SOURCE,
    ENV_STORE_DSN_FILE,
    ENV_TERMINATION_LOG,
    ENV_WORK_DIR,
    LoadSummary,
    Problem,
    StoreDsn,
    encode_summary,
)
from pydantic import ValidationError

from forge_pipelines.logs import JsonLines, log_to_stdout
from forge_pipelines.problems import LoadError

log = logging.getLogger("forge_pipelines")

PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")


def main(argv: list[str] | None = None) -> None:
    """Entry point of `forge-load`. It leaves at once: taking the interpreter apart takes a third of a second."""
    code = forge_load(argv if argv is not None else sys.argv[1:], os.environ)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def forge_load(argv: list[str], env: Mapping[str, str]) -> int:
    """Run a load as the environment says; gives the exit code."""
    name = arguments(argv).source
    formatter = log_to_stdout(name)
    stop = stop_on_signals()
    try:
        summary, formatter = load(name, env, stop)
    except LoadError as error:
        summary = LoadSummary(source=name, outcome="failed", error=Problem(reason=error.reason, message=error.message))
    return finish(summary, formatter, Path(env.get(ENV_TERMINATION_LOG, "/dev/termination-log")))


def load(name: str, env: Mapping[str, str], stop: threading.Event) -> tuple[LoadSummary, JsonLines]:
    """Read what to load, then load it. dlt is imported last: its import is most of a load's fixed cost."""
    source = read_source(name, env)
    credentials_files = read_credentials(env.get(ENV_CREDENTIALS_DIR))
    dsn = read_dsn(env)
    window = read_window(env)
    work_dir = Path(env.get(ENV_WORK_DIR, "/work"))
    formatter = log_to_stdout(name, secrets([*credentials_files.values(), dsn.password], env))
    log.info("load starts", extra={"type": source.type, "store": f"{dsn.host}:{dsn.port}"})

    sys.meta_path.insert(0, WithoutPandas())
    # Imports make no garbage: to look for it takes a fifth of their time.
    gc.disable()
    from forge_pipelines.load import LoadRequest, configure_dlt, run
    from forge_pipelines.sources import Credentials

    gc.freeze()
    gc.enable()
    configure_dlt(work_dir)
    request = LoadRequest(source, dsn, Credentials(name, credentials_files), work_dir, window, formatter.blot)
    return in_background(lambda: run(request, stop)), formatter


def arguments(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="forge-load", description="Load one source into bronze.")
    parser.add_argument("source", help="name of the source; the environment says the rest (FORGE_SOURCE, ...)")
    return parser.parse_args(argv)


def read_source(name: str, env: Mapping[str, str]) -> Source:
    """The source's element of the stack. Raises LoadError (InvalidConfiguration)."""
    text = env.get(ENV_SOURCE)
    if not text:
        raise LoadError(
            "InvalidConfiguration", f"{ENV_SOURCE} is not set; it holds the source's element of spec.sources as JSON"
        )
    try:
        source = Source.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the object"
        raise LoadError(
            "InvalidConfiguration", f"{ENV_SOURCE} ({name}): {where}: {first['msg']}; correct it in spec.sources"
        ) from error
    if source.name != name:
        raise LoadError(
            "InvalidConfiguration",
            f"asked to load {name!r}, but {ENV_SOURCE} describes {source.name!r}; they must agree",
        )
    return source


def read_credentials(folder: str | None) -> dict[str, str]:
    """The files of the credentials folder, by name. Raises LoadError (InvalidConfiguration) when one cannot be read."""
    if not folder or not (path := Path(folder)).is_dir():
        return {}
    values = {}
    for file in sorted(path.iterdir()):
        if file.name.startswith(".") or not file.is_file():
            continue
        try:
            values[file.name] = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise LoadError(
                "InvalidConfiguration", f"{ENV_CREDENTIALS_DIR}: {file.name} cannot be read ({type(error).__name__})"
            ) from error
    return values


def secrets(values: Iterable[str], env: Mapping[str, str]) -> Iterator[str]:
    """What no log may show: the values of the Secret, and passwords in URLs of proxies there or in the environment."""
    known = [value for value in values if value]
    yield from known
    for url in [*known, *(env.get(name) or env.get(name.lower()) or "" for name in PROXIES)]:
        with suppress(ValueError):
            if "://" in url and (password := urlsplit(url).password):
                yield from (password, unquote(password))


def read_dsn(env: Mapping[str, str]) -> StoreDsn:
    """Where the store is. Raises LoadError (InvalidConfiguration)."""
    file = env.get(ENV_STORE_DSN_FILE)
    if not file:
        raise LoadError(
            "InvalidConfiguration", f"{ENV_STORE_DSN_FILE} is not set; it names the file with the store's DSN"
        )
    try:
        return StoreDsn.read(Path(file))
    except ValueError as error:
        raise LoadError("InvalidConfiguration", f"{ENV_STORE_DSN_FILE}: {error}") from error


def read_window(env: Mapping[str, str]) -> tuple[datetime, datetime] | None:
    """The window of a backfill, if one is asked for. Raises LoadError (InvalidConfiguration)."""
    texts = env.get(ENV_INTERVAL_START), env.get(ENV_INTERVAL_END)
    if not any(texts):
        return None
    try:
        start, end = (datetime.fromisoformat(text or "") for text in texts)
        if start.tzinfo is None or end.tzinfo is None or start >= end:
            raise ValueError
    except ValueError as error:
        raise LoadError(
            "InvalidConfiguration",
            f"{ENV_INTERVAL_START} {texts[0]!r} and {ENV_INTERVAL_END} {texts[1]!r} must both be RFC 3339 times with a "
            "zone, the start before the end",
        ) from error
    return start, end


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set: the load ends at the next clean cursor. A second one ends it at once."""
    stop = threading.Event()

    def receive(number: int, _frame: object) -> None:
        if stop.is_set():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        stop.set()

    signal.signal(signal.SIGTERM, receive)
    signal.signal(signal.SIGINT, receive)
    return stop


def in_background(work: Callable[[], LoadSummary]) -> LoadSummary:
    """Run the load beside the main thread, which stays free for signals: dlt's own handlers would break off a load."""
    results: list[LoadSummary] = []
    thread = threading.Thread(target=lambda: results.append(work()), name="load", daemon=True)
    thread.start()
    thread.join()
    return results[0]


class WithoutPandas(MetaPathFinder):
    """Arrow and dlt import pandas wherever it is installed; a load has no use for it and would wait a second."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        """Say that pandas is not there; others are found by the finders behind this one."""
        if fullname == "pandas":
            raise ModuleNotFoundError("a load goes without pandas", name=fullname)


def finish(summary: LoadSummary, formatter: JsonLines, path: Path) -> int:
    """Write the summary for the runtime and the last log line; gives the exit code."""
    text = formatter.blot(encode_summary(summary))
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        log.error(f"{ENV_TERMINATION_LOG}: the summary cannot be written to {path}: {error.strerror}")
    failed = summary.outcome == "failed"
    message = summary.error.message if summary.error else f"load {summary.outcome}"
    log.log(logging.ERROR if failed else logging.INFO, message, extra={"summary": summary.model_dump(mode="json")})
    return 1 if failed else 0
