"""Settings from the environment, and the log."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from forge_api.main import JsonFormatter, settings_from
from forge_api.store import sqlalchemy_url


def test_the_dsn_is_read_from_its_file_each_time(tmp_path: Path) -> None:
    file = tmp_path / "dsn"
    file.write_text("http://one")
    settings = settings_from({"FORGE_STORE_DSN_FILE": str(file)})
    assert (settings.host, settings.port, settings.tokens) == ("0.0.0.0", 8080, None)
    assert settings.read_dsn() == "http://one"
    file.write_text("http://second")
    assert settings.read_dsn() == "http://second"


def test_a_url_in_the_environment_comes_first() -> None:
    environment = {"FORGE_API_DSN": "clickhousedb://h", "FORGE_STORE_DSN_FILE": "/nowhere", "FORGE_API_PORT": "0"}
    settings = settings_from(environment)
    assert (settings.read_dsn(), settings.port) == ("clickhousedb://h", 0)


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({}, "FORGE_STORE_DSN_FILE"),
        ({"FORGE_API_DSN": "x", "FORGE_API_PORT": "http"}, "FORGE_API_PORT"),
        ({"FORGE_API_DSN": "x", "FORGE_API_PORT": "70000"}, "FORGE_API_PORT"),
        ({"FORGE_API_DSN": "x", "FORGE_API_TOKEN_FILE": "/nowhere/tokens"}, "FORGE_API_TOKEN_FILE"),
    ],
)
def test_what_is_wrong_is_named(environment: dict[str, str], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        settings_from(environment)


@pytest.mark.parametrize(
    ("dsn", "url"),
    [
        ("http://user:p%40ss@host:8124", "clickhousedb://user:p%40ss@host:8124"),
        ("http://host", "clickhousedb://host:8123"),
        ("https://host", "clickhousedb://host:8443"),
        ("clickhouse+http://u:p@h:8123/gold", "clickhouse+http://u:p@h:8123/gold"),
        ("clickhousedb://h", "clickhousedb://h"),
        ("postgresql://h/db", "postgresql+psycopg://h/db"),
    ],
)
def test_a_dsn_finds_its_dialect(dsn: str, url: str) -> None:
    found, arguments = sqlalchemy_url(dsn)
    assert found.render_as_string(hide_password=False) == url
    assert arguments.get("secure", False) == dsn.startswith("https")


def test_a_log_line_is_one_object() -> None:
    record = logging.LogRecord("forge_api", logging.WARNING, "", 0, "two\nlines %s", ("x",), None)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line) | {"time": ""} == {
        "time": "",
        "level": "warning",
        "logger": "forge_api",
        "message": "two\nlines x",
    }
