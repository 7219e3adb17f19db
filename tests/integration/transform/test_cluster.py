"""What the program and dbt send to a store of several replicas.

No cluster runs here. Each statement is parsed by the real engine as it would be sent; then it is carried out without
what makes it a cluster's, so that the same run goes all the way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.httpclient import HttpClient
from forge_transform import history, main, store
from forge_transform.cluster import Cluster

pytestmark = pytest.mark.slow

NAMED = Cluster("main")
REPLICATED = Cluster("main", "Replicated('/clickhouse/databases/{database}', '{shard}', '{replica}')")
CHANGING = re.compile(r"\s*(create|drop|alter|exchange|rename|truncate|system)\b", re.IGNORECASE)
ON = re.compile(r'\bon\s+cluster\s+"main"', re.IGNORECASE)


def issue(number: int) -> dict[str, Any]:
    texts = {"id": f"{number}", "key": f"FORGE-{number}", "project_key": "FORGE", "status": "To Do"}
    times = dict.fromkeys(("created_at", "updated_at"), f"2026-0{1 + number % 3}-01T00:00:00Z")
    return texts | times


def first_loads(bronze: Any) -> None:
    bronze.write("jira", "jira", "1", issues=[issue(n) for n in range(1, 7)])
    sample = {"fingerprint": "a", "sampled_at": "2026-01-02T01:00:00Z", "value": 1}
    bronze.write("prometheus", "prometheus", "1", samples=[sample])


def alone(statement: str, engine: str) -> str:
    """The same for a single server, whose databases seem to be of the engine."""
    statement = re.sub(r"engine = Replicated\('.*?'\)(?=\s*$)", "", ON.sub("", statement), flags=re.IGNORECASE)
    statement = re.sub(r"\bReplicated(\w*MergeTree)", r"\1", statement)
    statement = re.sub(r'clusterAllReplicas\("main", (\S+?)\)', r"\1", statement).replace("_shard_num", "1")
    statement = statement.replace("db.engine as db_engine", f"'{engine}' as db_engine")
    return "select 1" if re.match(r"\s*system sync replica", bare(statement), re.IGNORECASE) else statement


def bare(statement: str) -> str:
    """The statement without dbt's remark before it."""
    return re.sub(r"/\*.*?\*/", "", statement, flags=re.DOTALL).strip().rstrip(";")


@dataclass
class Sent:
    """Every statement that anybody in this process sends, while it is carried out for a single server."""

    statements: list[str] = field(default_factory=list)
    database_engine: str = "Atomic"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    found = Sent()

    def listening(method: Any) -> Any:
        def call(self: Any, statement: str, *args: Any, **named: Any) -> Any:
            found.statements.append(bare(statement))
            return method(self, alone(statement, found.database_engine), *args, **named)

        return call

    monkeypatch.setattr(HttpClient, "command", listening(HttpClient.command))
    monkeypatch.setattr(HttpClient, "query", listening(HttpClient.query))
    return found


@pytest.mark.parametrize("cluster", [NAMED, REPLICATED])
def test_every_statement_of_a_cluster_is_one_that_the_engine_reads(
    cluster: Cluster, bronze: Any, run: Any, client: Client, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything, then a load that changes a table of one partition and tables of several; retention and publishing."""
    first_loads(bronze)
    sent.statements.clear()
    sent.database_engine = "Replicated" if cluster is REPLICATED else "Atomic"
    days = {"silverRetentionDays": 30000, "goldRetentionDays": 30000}
    assert run(cluster=cluster, **days).outcome == "succeeded"
    bronze.write("jira", "jira", "2", issues=[issue(7)])
    assert run("jira", cluster=cluster, **days).outcome == "succeeded"
    monkeypatch.undo()
    assert client.query("select count() from gold.small_tickets").result_rows == [(7,)]

    changing = list(dict.fromkeys(s for s in sent.statements if CHANGING.match(s)))
    for statement in changing:
        client.query(f"explain ast {statement}")
    ours = [s for s in changing if not re.search(r"\bbronze\b", s)]
    assert len(ours) > 100
    for word in ("create table", "create or replace table", "replace partition", "exchange tables", "attach partition"):
        assert any(word in " ".join(s.lower().split()) for s in ours), word

    # An alter of a replicated table comes to its other replicas by the table's own log.
    without = [s for s in ours if not ON.search(s) and not re.match("alter", s, re.IGNORECASE)]
    named = [s for s in ours if ON.search(s)]
    assert (without == []) if cluster is NAMED else (named == []), "\n".join([*without, "--", *named])
    engines = {match for s in ours for match in re.findall(r"engine\s*=\s*(\w+)", s, re.IGNORECASE)}
    tables = {engine for engine in engines if engine.endswith("Tree")}
    assert tables == {"ReplicatedMergeTree", "ReplicatedReplacingMergeTree"}
    assert ("Replicated" in engines) == (cluster is REPLICATED)


def test_another_cluster_is_built_anew(bronze: Any, settings: Any, run: Any, client: Client, sent: Sent) -> None:
    """Tables that are not replicated do not become so by an increment."""
    first_loads(bronze)
    run()
    with store.connect(settings().dsn) as open_store:
        started = main.start(open_store, settings(cluster=NAMED))
    assert isinstance(started, history.Run)
    assert started.selection.scope == "everything"
