"""The environment of a load: what is wrong is named, and no secret is repeated."""

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from forge_pipelines.logs import JsonLines
from forge_pipelines.main import read_credentials, read_dsn, read_source, read_window, secrets
from forge_pipelines.problems import LoadError
from forge_pipelines.sources import Credentials
from forge_stack.wire import LoadSummary, Problem, encode_summary

PROMETHEUS = '{"name": "metrics", "prometheus": {"url": "http://prometheus:9090"}}'


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({}, "FORGE_SOURCE is not set"),
        ({"FORGE_SOURCE": "{"}, "FORGE_SOURCE .*correct it"),
        ({"FORGE_SOURCE": PROMETHEUS.replace("metrics", "other")}, "asked to load 'metrics'.*'other'"),
        ({"FORGE_SOURCE": '{"name": "metrics", "prometheus": {"url": "ftp://x"}}'}, r"prometheus\.url"),
    ],
)
def test_a_bad_source_is_refused(env: dict[str, str], message: str) -> None:
    with pytest.raises(LoadError, match=message) as found:
        read_source("metrics", env)
    assert found.value.reason == "InvalidConfiguration"


def test_a_source_is_read() -> None:
    assert read_source("metrics", {"FORGE_SOURCE": PROMETHEUS}).type == "prometheus"


def test_credentials_are_the_files_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    (tmp_path / "..data").write_text("not a key")
    assert read_credentials(str(tmp_path)) == {"token": "s3cret"}
    assert read_credentials(None) == {} == read_credentials(str(tmp_path / "absent"))


def test_a_missing_key_is_named_and_no_value_shown() -> None:
    credentials = Credentials("github", {"tokn": "s3cret", "empty": ""})
    with pytest.raises(LoadError, match=r"lacks the key 'token' \(keys found: tokn\)") as found:
        credentials.require("token")
    assert "s3cret" not in str(found.value) + repr(credentials)


def test_the_dsn_file(tmp_path: Path) -> None:
    file = tmp_path / "dsn"
    file.write_text("http://load:pass%40word@store:8123\n")
    assert read_dsn({"FORGE_STORE_DSN_FILE": str(file)}).password == "pass@word"
    for env in ({}, {"FORGE_STORE_DSN_FILE": str(tmp_path / "absent")}):
        with pytest.raises(LoadError, match="FORGE_STORE_DSN_FILE"):
            read_dsn(env)


@pytest.mark.parametrize(
    "env",
    [
        {"DLT_INTERVAL_START": "2026-01-01T00:00:00Z"},
        {"DLT_INTERVAL_START": "2026-01-02T00:00:00Z", "DLT_INTERVAL_END": "2026-01-01T00:00:00Z"},
        {"DLT_INTERVAL_START": "2026-01-01T00:00:00", "DLT_INTERVAL_END": "2026-01-02T00:00:00Z"},
        {"DLT_INTERVAL_START": "yesterday", "DLT_INTERVAL_END": "today"},
    ],
)
def test_a_bad_window_is_refused(env: dict[str, str]) -> None:
    with pytest.raises(LoadError, match="DLT_INTERVAL_START"):
        read_window(env)


def test_no_window_is_no_backfill() -> None:
    assert read_window({}) is None
    window = read_window({"DLT_INTERVAL_START": "2026-01-01T00:00:00Z", "DLT_INTERVAL_END": "2026-01-02T00:00:00Z"})
    assert window is not None and (window[1] - window[0]).days == 1


def test_a_log_line_is_one_json_object_without_secrets() -> None:
    formatter = JsonLines("github", ['s3cr"et', "abc"])
    record = logging.makeLogRecord({"msg": 'refused: s3cr"et\nabc', "levelname": "WARNING", "rows": 3})
    line = formatter.format(record)
    assert "\n" not in line
    found = json.loads(line)
    assert found["message"] == "refused: ***\nabc"
    assert (found["level"], found["source"], found["rows"]) == ("warning", "github", 3)
    assert found["time"].endswith("Z")


@pytest.mark.parametrize("form", [str, repr, lambda s: quote(s, safe="")])
def test_a_secret_is_blotted_in_every_form_it_may_take(form: Callable[[str], str]) -> None:
    secret = "pä\"ss\\w'örd/"
    formatter = JsonLines("github", [secret])
    summary = LoadSummary(
        source="x", outcome="failed", error=Problem(reason="Unauthorized", message=f"said {form(secret)}")
    )
    record = logging.makeLogRecord({"msg": f"said {form(secret)}"})
    for text in (formatter.format(record), formatter.blot(encode_summary(summary))):
        assert "***" in text and "örd" not in text and not re.search(r"rd(/|%2F)", text)


def test_the_password_of_a_proxy_is_a_secret_too() -> None:
    env = {"https_proxy": "http://u:fr%6Fm-env@proxy:3128", "HTTP_PROXY": "http://proxy:3128"}
    found = set(secrets(["t0ken", "http://user:pa%3Ass@proxy"], env))
    assert {"t0ken", "pa:ss", "pa%3Ass", "from-env", "fr%6Fm-env"} <= found
    assert "http://proxy:3128" not in found
