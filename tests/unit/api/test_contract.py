"""Tables, answers and the contract name the same columns."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from forge_api import models
from forge_api.tables import Flag, Money, UtcDateTime, coverage, metadata, platform_hourly, ticket_costs, tickets
from pydantic import BaseModel
from sqlalchemy import BigInteger, Column, Double, String, Table

CONTRACT = Path(__file__).parents[3] / "docs" / "gold.md"
TYPES = {
    "String": String,
    "DateTime64": UtcDateTime,
    "DateTime": UtcDateTime,
    "Float64": Double,
    "UInt64": BigInteger,
    "Int64": BigInteger,
    "Decimal": Money,
    "Bool": Flag,
}


def contract_columns(table: str) -> dict[str, tuple[type, bool]]:
    """Type and nullable of a gold table's columns by name, from the page."""
    _, _, section = CONTRACT.read_text(encoding="utf-8").partition(f"\n## gold.{table}\n")
    assert section, f"the contract does not list gold.{table}"
    rows = re.findall(r"^\| `(\w+)` \| (Nullable\()?(\w+)", section.partition("\n## ")[0], re.MULTILINE)
    return {name: (TYPES[base], bool(nullable)) for name, nullable, base in rows if base in TYPES}


@pytest.mark.parametrize("table", metadata.sorted_tables, ids=lambda t: t.name)
def test_the_tables_have_the_columns_of_the_contract(table: Table) -> None:
    def described(column: Column[object]) -> tuple[type, bool]:
        return next(t for t in TYPES.values() if isinstance(column.type, t)), bool(column.nullable)

    contract = contract_columns(table.name)
    assert {column.name: described(column) for column in table.columns} == {
        column.name: contract.get(column.name) for column in table.columns
    }


@pytest.mark.parametrize(
    ("model", "table", "left_out"),
    [
        (models.Ticket, tickets, set()),
        (models.TicketCost, ticket_costs, {"ticket_key"}),
        (models.PlatformHour, platform_hourly, set()),
        (models.SourceCoverage, coverage, set()),
    ],
)
def test_the_answers_have_the_columns_of_the_tables(model: type[BaseModel], table: Table, left_out: set[str]) -> None:
    assert list(model.model_fields) == [c.name for c in table.columns if c.name not in left_out]
    for column in table.columns:
        if column.name not in left_out and model is not models.PlatformHour:
            allows_null = type(None) in getattr(model.model_fields[column.name].annotation, "__args__", ())
            assert allows_null == column.nullable, column.name


@pytest.mark.parametrize("name", ["Ticket", "TicketCost", "PlatformHour", "SourceCoverage", "Cost"])
def test_every_field_is_described(name: str) -> None:
    undescribed = [f for f, field in getattr(models, name).model_fields.items() if not field.description]
    assert undescribed in ([], ["minimum", "maximum"])
