"""A real store for any room's tests: `forge-store` as a process on a free port."""

import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest
import yaml

# The same cases in each run, however busy the machine: a failure is a change's, and comes again. Others are looked for
# with --hypothesis-profile=default.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True, database=None,
                                     suppress_health_check=[hypothesis.HealthCheck.too_slow])  # fmt: skip
hypothesis.settings.load_profile("repeatable")

WRITER, READER = ("forge", "wr:ite/r@1"), ("reader", "re ad%er")


@dataclass
class StoreServer:
    """A running store; `dsn` writes, `reader_dsn` only reads."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def dsn(self) -> str:
        return f"http://forge:wr%3Aite%2Fr%401@127.0.0.1:{self.port}"

    @property
    def reader_dsn(self) -> str:
        return f"http://reader:re%20ad%25er@127.0.0.1:{self.port}"


def start_store(folder: Path, *arguments: str) -> StoreServer:
    """Starts `forge-store` on `folder`, with the writer and the reader, and waits until it is ready."""
    users = folder / "config" / "users.d" / "users.yaml"
    if not users.exists():
        users.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(READER[1].encode()).hexdigest()
        content = {
            "users": {
                WRITER[0]: {"password": WRITER[1], "profile": "default"},
                READER[0]: {"password_sha256_hex": digest, "profile": "readonly"},
            },
            "profiles": {"default": {}, "readonly": {"readonly": 2}},
        }
        users.write_text(yaml.safe_dump(content))
    port_file = folder / "port"
    port_file.unlink(missing_ok=True)
    command = [str(Path(sys.executable).parent / "forge-store"), "serve", "--data", str(folder / "data")]
    command += ["--config-dir", str(folder / "config"), "--port", "0", "--port-file", str(port_file), *arguments]
    with (folder / "store.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    deadline = time.monotonic() + 300
    while not port_file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"forge-store did not start:\n{(folder / 'store.log').read_text()[-4000:]}")
        time.sleep(0.02)
    return StoreServer(process, int(port_file.read_text()), folder)


def stop_store(store: StoreServer) -> int:
    """Stops a store as Kubernetes does; its exit code."""
    store.process.terminate()
    try:
        return store.process.wait(40)
    except subprocess.TimeoutExpired:
        store.process.kill()
        raise


@pytest.fixture(scope="session")
def store_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    """One store for the whole run (one a worker): use databases or prefixes of your own."""
    store = start_store(tmp_path_factory.mktemp("store"))
    yield store
    stop_store(store)


@pytest.fixture(scope="session")
def store_dsn(store_server: StoreServer) -> str:
    """A user that may write."""
    return store_server.dsn


@pytest.fixture(scope="session")
def store_reader_dsn(store_server: StoreServer) -> str:
    """A user that may only read."""
    return store_server.reader_dsn
