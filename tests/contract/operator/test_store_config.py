"""The store's generated configuration, read by ClickHouse's own parser (chDB holds it) in a process of its own.

chDB is built without YAML, so each file is turned into XML by the rules of ClickHouse's documentation
(https://clickhouse.com/docs/operations/configuration-files#yaml): `@name` is an attribute, a list repeats its element.
The main configuration beside it is what the official image brings, as far as the generated files touch it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from forge_operator.builders import store

CONFIG = """<clickhouse>
    <logger><level>trace</level><log>{root}/server.log</log><errorlog>{root}/error.log</errorlog></logger>
    <http_port>8123</http_port><tcp_port>9000</tcp_port><mysql_port>9004</mysql_port>
    <postgresql_port>9005</postgresql_port><interserver_http_port>9009</interserver_http_port>
    <user_directories><users_xml><path>{root}/etc/users.xml</path></users_xml></user_directories>
    <query_log><database>system</database><table>query_log</table>
        <partition_by>toYYYYMM(event_date)</partition_by></query_log>
    <trace_log><database>system</database><table>trace_log</table></trace_log>
</clickhouse>"""
USERS = """<clickhouse>
    <profiles><default/></profiles><quotas><default/></quotas>
    <users><default><password></password><networks><ip>::/0</ip></networks><profile>default</profile>
        <quota>default</quota><access_management>1</access_management></default></users>
</clickhouse>"""
ASK = """
import json, sys, chdb
connection = chdb.connect(sys.argv[1])
answers = [json.loads(str(connection.query(query, "JSONCompact")))["data"] for query in sys.argv[2:]]
print(json.dumps(answers))
"""
HASH = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"


def to_xml(tag: str, value: Any) -> ElementTree.Element:
    """One YAML node as ClickHouse's YAML parser makes it."""
    node = ElementTree.Element(tag)
    if isinstance(value, dict):
        for key, item in value.items():
            if key.startswith("@"):
                node.set(key[1:], str(item))
            elif isinstance(item, list):
                node.extend(to_xml(key, each) for each in item)
            else:
                node.append(to_xml(key, item))
    elif isinstance(value, bool):
        node.text = str(value).lower()
    elif value is not None:
        node.text = str(value)
    return node


def ask(root: Path, server: str, users: str, *queries: str) -> list[Any]:
    """Start the engine with both files and ask it. Raises AssertionError with its words when it does not start."""
    for folder in ("etc/config.d", "etc/users.d", "data", "work"):
        (root / folder).mkdir(parents=True)
    (root / "etc/config.xml").write_text(CONFIG.format(root=root))
    (root / "etc/users.xml").write_text(USERS)
    for name, text in (("config.d/forge-server.xml", server), ("users.d/forge-users.xml", users)):
        (root / "etc" / name).write_bytes(ElementTree.tostring(to_xml("clickhouse", yaml.safe_load(text))))
    environment = {**os.environ, "FORGE_STORE_WRITER_SHA256": HASH, "FORGE_STORE_READER_SHA256": HASH}
    done = subprocess.run(
        [sys.executable, "-c", ASK, f"{root}/data?config-file={root}/etc/config.xml", *queries],
        cwd=root / "work",
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return list(json.loads(done.stdout.splitlines()[-1]))


SERVER, REAL_PEOPLE = store.render(store.server_config()), store.render(store.user_config())
# The engine in this process asks as the built-in user, so that all tests but its own leave that one in.
PEOPLE = REAL_PEOPLE.replace("  default:\n    '@remove': '1'\n", "")


def test_the_built_in_user_without_password_is_gone(tmp_path: Path) -> None:
    assert PEOPLE != REAL_PEOPLE
    with pytest.raises(AssertionError, match="AUTHENTICATION_FAILED"):
        ask(tmp_path, SERVER, REAL_PEOPLE, "select 1")


def test_users_and_profiles_are_what_they_should_be(tmp_path: Path) -> None:
    users, profiles = ask(
        tmp_path,
        SERVER,
        PEOPLE,
        "select name, toString(auth_type), arraySort(arrayConcat(host_ip, host_names)) from system.users order by name",
        "select profile_name, setting_name, value from system.settings_profile_elements"
        " where profile_name in ('forge', 'reader') and setting_name != '' order by all",
    )
    found = {name: (auth, hosts) for name, auth, hosts in users}
    assert set(found) == {"default", "forge", "reader"}
    assert "sha256_password" in found["forge"][0]
    assert "sha256_password" in found["reader"][0]
    assert found["forge"][1] == found["reader"][1] == ["::/0"]
    assert ["reader", "readonly", "2"] in profiles
    assert ["forge", "readonly", "2"] not in profiles


def test_the_server_settings_are_taken(tmp_path: Path) -> None:
    (settings,) = ask(
        tmp_path,
        SERVER,
        PEOPLE,
        "select name, value from system.server_settings where changed and name in "
        "('shutdown_wait_unfinished', 'shutdown_wait_unfinished_queries', 'max_server_memory_usage_to_ram_ratio')",
    )
    assert dict(settings) == {
        "shutdown_wait_unfinished": "60",
        "shutdown_wait_unfinished_queries": "1",
        "max_server_memory_usage_to_ram_ratio": "0.85",
    }


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("{'@from_env': FORGE_STORE_WRITER_SHA256}", "{'@from_env': NOT_SET_ANYWHERE}"),
        ("readonly: 2", "readonly: sometimes"),
        ("max_execution_time: 60", "no_such_setting: 60"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, wrong: str, right: str) -> None:
    """The parser is a real one: it takes no mistake of ours."""
    broken = yaml.safe_dump(yaml.safe_load(PEOPLE), default_flow_style=None).replace(wrong, right)
    assert right in broken
    with pytest.raises(AssertionError):
        ask(tmp_path, SERVER, broken, "select 1")


def test_a_wrong_server_setting_is_refused(tmp_path: Path) -> None:
    broken = SERVER.replace("shutdown_wait_unfinished: 60", "shutdown_wait_unfinished: soon")
    with pytest.raises(AssertionError, match="soon"):
        ask(tmp_path, broken, PEOPLE, "select 1")
