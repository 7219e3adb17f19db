"""A volume outlives its stack, the passwords do not: a new stack's users open the old data, on a real store."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import httpx
import pytest
from forge_operator.builders import Inputs, store
from forge_operator.settings import IMAGES, Settings
from forge_stack.model import ObservabilityStack
from forge_stack.wire import StoreDsn

ROOT = Path(__file__).parents[3]


@pytest.fixture
def stores(request: pytest.FixtureRequest) -> ModuleType:
    """The functions that start and stop a store."""
    module = request.config.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py"))
    assert module is not None
    return module


def secret(number: int) -> dict[str, str]:
    """The Secret of one of several stacks of one name."""
    manifest = {
        "metadata": {"name": "acme", "namespace": "team-a", "uid": f"uid-{number}"},
        "spec": {"sources": [{"name": "metrics", "prometheus": {"url": "http://prometheus:9090"}}]},
    }
    settings = Settings(images=dict.fromkeys(IMAGES, "none"))
    inputs = Inputs(stack=ObservabilityStack.parse(manifest), settings=settings, store_secret="acme-store-auth")
    return dict(store.auth_secret(inputs, f"writer-{number}", f"reader-{number}")["stringData"])


def ask(port: int, dsn: str, sql: str) -> httpx.Response:
    """A statement of the user that a DSN of the Secret names."""
    user = StoreDsn.parse(dsn)
    return httpx.post(f"http://127.0.0.1:{port}", content=sql, auth=(user.user, user.password), timeout=60)


def test_the_users_of_a_new_stack_open_the_old_data(
    stores: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = tmp_path / "config" / "users.d" / "users.yaml"
    users.parent.mkdir(parents=True)
    users.write_text(store.render(store.user_config()))
    old, new = secret(1), secret(2)
    for number, given in enumerate((old, new)):
        monkeypatch.setenv("FORGE_STORE_WRITER_SHA256", given["writer-sha256"])
        monkeypatch.setenv("FORGE_STORE_READER_SHA256", given["reader-sha256"])
        server = stores.start_store(tmp_path)
        try:
            if number == 0:
                for sql in (
                    "create database bronze",
                    "create table bronze.t (n UInt64) engine = MergeTree order by n",
                    "insert into bronze.t select number from numbers(1000)",
                ):
                    assert ask(server.port, given["dsn"], sql).status_code == 200
            found = ask(server.port, given["reader-dsn"], "select count() from bronze.t")
            assert (found.status_code, found.text.strip()) == (200, "1000")
            if number == 1:
                assert ask(server.port, old["dsn"], "select 1").status_code in (401, 403, 516)
                assert ask(server.port, given["dsn"], "insert into bronze.t values (1000)").status_code == 200
        finally:
            stores.stop_store(server)
