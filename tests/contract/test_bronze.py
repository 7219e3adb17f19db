"""Bronze is said twice: as Arrow schemas where it is written, as dbt sources where it is read. They must agree."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from forge_pipelines.sources import github, jira, langfuse, prometheus
from forge_pipelines.tables import Table

SOURCES_FILE = Path(__file__).parents[2] / "dbt" / "models" / "staging" / "__sources.yml"
TABLES = {
    f"{module.__name__.rsplit('.', 1)[-1]}.{table.name}": table
    for module in (github, jira, langfuse, prometheus)
    for table in module.TABLES
}
CLICKHOUSE = {
    pa.string(): "String",
    pa.int64(): "Int64",
    pa.int32(): "Int32",
    pa.float64(): "Float64",
    pa.bool_(): "Bool",
    pa.date32(): "Date",
    pa.decimal128(38, 12): "Decimal(38, 12)",
    pa.timestamp("us", tz="UTC"): "DateTime64(6, 'UTC')",
}


def declared() -> dict[str, dict[str, str]]:
    """Column types by table, as the dbt sources say."""
    sources = yaml.safe_load(SOURCES_FILE.read_text())["sources"]
    return {
        f"{source['name']}.{table['name']}": {c["name"]: c["data_type"] for c in table["columns"]}
        for source in sources
        for table in source["tables"]
        if not table["name"].startswith("_dlt")
    }


def written(table: Table) -> dict[str, str]:
    """Column types as the destination makes them, and the load id that every row carries."""
    types = {}
    for field in table.schema:
        name = CLICKHOUSE[field.type]
        types[field.name] = f"Nullable({name})" if field.nullable else name
    return types | {"_dlt_load_id": "String"}


def test_the_same_tables() -> None:
    assert set(declared()) == set(TABLES)


@pytest.mark.parametrize("name", sorted(TABLES))
def test_the_same_columns_of_the_same_types(name: str) -> None:
    assert declared()[name] == written(TABLES[name])
