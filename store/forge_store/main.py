"""`forge-store serve`: the store as a program."""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn

from forge_store.app import Limits, Store
from forge_store.engine import Engine, InUseError
from forge_store.errors import StoreError
from forge_store.exchange import CutOffError
from forge_store.users import ConfigurationError, Users, read_folder

logger = logging.getLogger("forge_store")

# Seconds for running statements after SIGTERM; Kubernetes gives 30 for all of it.
GRACE = 20


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="forge-store", description=__doc__)
    serve_command = parser.add_subparsers(required=True).add_parser("serve", help="serve one data folder over HTTP")
    serve_command.add_argument("--data", type=Path, required=True, help="the folder that holds the data")
    serve_command.add_argument(
        "--config-dir", type=Path, help="ClickHouse's configuration: users.d/*.yaml, config.d/*.yaml"
    )
    serve_command.add_argument("--host", default="127.0.0.1")
    serve_command.add_argument("--port", type=int, default=8123, help="0: any free one")
    serve_command.add_argument("--port-file", type=Path, help="a file that gets the port when the store is ready")
    serve_command.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    arguments = parser.parse_args()
    _log_json_lines(arguments.log_level)
    try:
        serve(arguments)
    except (ConfigurationError, InUseError, StoreError, OSError) as error:
        logger.error("%s", error)
        sys.exit(1)


def serve(arguments: argparse.Namespace) -> None:
    """Serves until SIGTERM or SIGINT: no new connections then, GRACE for what runs, and the folder is closed."""
    folder = arguments.config_dir
    users = Users(folder)
    settings = read_folder(folder, "config") if folder else {}
    data = arguments.data.resolve()
    listener = _listen(arguments.host, arguments.port)
    engine = Engine(data, settings)
    spool = data / "spool"
    spool.mkdir(exist_ok=True)
    limits = Limits(concurrent=int(settings.get("max_concurrent_queries", Limits.concurrent)))
    configuration = uvicorn.Config(
        Store(engine, users, spool, limits),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who may come is decided by the address of the peer, as on a server
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE,
        h11_max_incomplete_event_size=1 << 20,  # ClickHouse's longest URL
    )
    server = _Server(configuration, listener.getsockname()[1], arguments.port_file)
    asyncio.run(_serve(server, listener, users))


class _Server(uvicorn.Server):
    """uvicorn's server, that says when it is ready."""

    def __init__(self, config: uvicorn.Config, port: int, port_file: Path | None) -> None:
        super().__init__(config)
        self._port, self._port_file = port, port_file

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        logger.info("ready", extra={"port": self._port, "pid": os.getpid()})
        if self._port_file:
            new = self._port_file.with_name(self._port_file.name + ".new")
            new.write_text(f"{self._port}\n")
            new.rename(self._port_file)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ends in order, with exit code 0: uvicorn's own way ends by raising the signal again."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.handle_exit, number, None)
        yield


async def _serve(server: uvicorn.Server, listener: socket.socket, users: Users) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _reload, users)
    await server.serve(sockets=[listener])


def _reload(users: Users) -> None:
    try:
        users.load()
    except ConfigurationError as error:
        logger.error("the users stay as they were: %s", error)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named TCP, for asyncio turns Nagle off only on those.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise OSError(f"{host}:{port}: {error.strerror}: choose another --port") from None
    listener.listen(1024)
    return listener


class _JsonLines(logging.Formatter):
    _USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in self._USUAL}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _not_cut_off(record: logging.LogRecord) -> bool:
    """A response cut off on purpose is the client's error, already logged, and no fault of the server."""
    return not (record.exc_info and isinstance(record.exc_info[1], CutOffError))


def _log_json_lines(level: str) -> None:

    formatter = _JsonLines()
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    handler.addFilter(_not_cut_off)
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
