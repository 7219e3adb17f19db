"""Tables, answers and the contract name the same columns."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from forge_api import models
from forge_api.app import create_app
from forge_api.listings import ENTITIES, PATHS, SERIES, TIMELINE, Listing
from forge_api.tables import CONTRACT, coverage, platform_hourly, ticket_costs, tickets
from pydantic import BaseModel
from sqlalchemy import Table

PAGE = Path(__file__).parents[3] / "docs" / "gold.md"


def test_the_tables_are_those_of_the_page() -> None:
    """gold.json and docs/gold.md are made of the same models by `make generate`; one that is stale differs."""
    page = PAGE.read_text(encoding="utf-8")
    for name, table in CONTRACT.items():
        _, _, section = page.partition(f"\n## gold.{name}\n")
        rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| (.*) \|$", section.partition("\n## ")[0], re.MULTILINE)
        assert [tuple(row) for row in rows] == [
            (column, said, meaning.replace("|", "\\|")) for column, (said, meaning) in table["columns"].items()
        ]
    assert re.findall(r"^## gold\.(\w+)$", page, re.MULTILINE) == list(CONTRACT)


def test_every_table_is_in_the_api() -> None:
    """The catalogue names tables; each has a route that the document knows."""
    assert set(PATHS) == set(CONTRACT) - {"metrics"}
    document = create_app(lambda: "").openapi()
    assert {f"/api/v1{path}" for path in PATHS.values()} <= set(document["paths"])


@pytest.mark.parametrize("listing", [*SERIES, *ENTITIES, TIMELINE], ids=lambda listing: listing.path)
def test_a_list_is_made_of_its_table(listing: Listing) -> None:
    """Order and filters name columns; by the last of the order no two rows are alike, so it holds no null."""
    named = {*listing.filters, *listing.breakdowns, *(name.removeprefix("-") for name in listing.order)}
    assert named <= set(listing.table.c.keys())
    assert set(listing.breakdowns) <= set(listing.filters)
    assert not listing.sort_keys()[-1].nullable


def test_every_field_of_a_list_is_described() -> None:
    schemas = create_app(lambda: "").openapi()["components"]["schemas"]
    described = [name for name in schemas if name.endswith("Row") or name in ("MetricDefinition", "CostGroup", "Costs")]
    assert len(described) > len(SERIES) + len(ENTITIES)
    for name in described:
        assert [f for f, field in schemas[name]["properties"].items() if not field.get("description")] == [], name


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
