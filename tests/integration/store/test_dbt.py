"""dbt-clickhouse over HTTP: materialisations, contracts, unit tests, snapshots; twice, as a schedule does."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
import yaml

pytestmark = pytest.mark.slow

MODELS = {
    "table_model.sql": """{{ config(materialized='table', order_by='id') }}
        select id, word from {{ ref('words') }}""",
    "view_model.sql": "select count() as n from {{ ref('table_model') }}",
    "appended.sql": """{{ config(materialized='incremental', incremental_strategy='append', order_by='id') }}
        select number as id from numbers(3)""",
    "replaced.sql": """{{ config(materialized='incremental', incremental_strategy='delete_insert', unique_key='id',
        order_by='id') }} select id, now64(6) as at, if(id = 1, null, word) as word from {{ ref('words') }}
        {% if is_incremental() %} where id = 1 {% endif %}""",
    "by_partition.sql": """{{ config(materialized='incremental', incremental_strategy='insert_overwrite',
        partition_by='p', order_by='id') }} select number as id, number % 2 as p from numbers(10)
        {% if is_incremental() %} where p = 1 {% endif %}""",
    "contracted.sql": """{{ config(materialized='table', order_by='id') }}
        select toInt64(id) as id, word from {{ ref('words') }}""",
}
SCHEMA = {
    "version": 2,
    "models": [
        {"name": "table_model", "columns": [{"name": "id", "data_tests": ["unique", "not_null"]}]},
        {
            "name": "contracted",
            "config": {"contract": {"enforced": True}},
            "columns": [{"name": "id", "data_type": "Int64"}, {"name": "word", "data_type": "String"}],
        },
    ],
    "unit_tests": [
        {
            "name": "view_counts",
            "model": "view_model",
            "given": [{"input": "ref('table_model')", "rows": [{"id": 1, "word": "a"}, {"id": 2, "word": "b"}]}],
            "expect": {"rows": [{"n": 2}]},
        }
    ],
}
SNAPSHOT = """{% snapshot snap %}
{{ config(unique_key='id', strategy='check', check_cols=['word'], target_schema='dbt_store') }}
select id, word from {{ ref('words') }}{% endsnapshot %}"""


@pytest.fixture
def project(tmp_path: Path, store_server: Any) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / "seeds").mkdir()
    (tmp_path / "snapshots").mkdir()
    for name, text in MODELS.items():
        (tmp_path / "models" / name).write_text(text)
    (tmp_path / "models" / "schema.yml").write_text(yaml.safe_dump(SCHEMA))
    (tmp_path / "snapshots" / "snap.sql").write_text(SNAPSHOT)
    (tmp_path / "seeds" / "words.csv").write_text('id,word\n1,one\n2,it\'s two\n3,"three, with comma"\n')
    project = {
        "name": "store_project",
        "version": "1.0",
        "profile": "store",
        "flags": {"send_anonymous_usage_stats": False},
    }
    (tmp_path / "dbt_project.yml").write_text(yaml.safe_dump(project))
    output = {
        "type": "clickhouse",
        "driver": "http",
        "host": "127.0.0.1",
        "port": store_server.port,
        "user": "forge",
        "password": "wr:ite/r@1",
        "schema": "dbt_store",
        "threads": 4,
        "custom_settings": {"join_use_nulls": 1},
    }
    (tmp_path / "profiles.yml").write_text(yaml.safe_dump({"store": {"target": "it", "outputs": {"it": output}}}))
    return tmp_path


def build(project: Path) -> None:
    command = [str(Path(sys.executable).parent / "dbt"), "--no-use-colors", "build", "--project-dir", str(project)]
    command += ["--profiles-dir", str(project)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=project)
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-2000:]


def test_dbt_builds_twice(project: Path, store_dsn: str) -> None:
    client = clickhouse_connect.get_client(dsn=store_dsn)
    build(project)
    build(project)
    assert client.query("select n from dbt_store.view_model").result_rows == [(3,)]
    assert client.query("select count() from dbt_store.appended").result_rows == [(6,)]
    assert client.query("select count(), uniqExact(id) from dbt_store.replaced").result_rows == [(3, 3)]
    assert client.query("select count(), uniqExact(at) from dbt_store.replaced").result_rows[0][0] == 3
    assert client.query("select count() from dbt_store.by_partition").result_rows == [(10,)]
    assert client.query("select word from dbt_store.contracted order by id").result_rows[1:] == [
        ("it's two",),
        ("three, with comma",),
    ]
    assert client.query("select count() from dbt_store.snap").result_rows == [(3,)]
    left = client.query(
        "select name from system.tables where database = 'dbt_store' and name like '%__dbt_%'"
    ).result_rows
    assert left == []
    client.command("drop database dbt_store sync")
