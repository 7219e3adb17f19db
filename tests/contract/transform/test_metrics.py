"""The catalogue of the numbers agrees with the columns of gold: each number is defined once, and none is forgotten."""

from __future__ import annotations

from typing import Any

import pytest
from forge_transform.reference import gold_models, kpis

MODELS = {model["name"]: model for model in gold_models()}
KPIS = kpis()
PERIOD_MARTS = sorted(n for n, m in MODELS.items() if any(c["name"] == "period_start" for c in m["columns"]))


def columns(model: str) -> dict[str, str]:
    return {column["name"]: column["data_type"] for column in MODELS[model]["columns"]}


def is_number(data_type: str) -> bool:
    return any(kind in data_type for kind in ("Int", "Float", "Decimal"))


@pytest.mark.parametrize("kpi", KPIS, ids=lambda kpi: kpi["name"])
def test_a_number_is_where_its_contract_says(kpi: dict[str, Any]) -> None:
    assert set(kpi["columns"]) <= set(columns(kpi["model"]))
    assert kpi["drill_down"] in MODELS
    assert set(kpi["sources"]) <= {"github", "jira", "langfuse", "prometheus"}
    for field in ("title", "theme", "definition", "formula", "unit", "clock", "exclusions"):
        assert kpi[field], field


@pytest.mark.parametrize("model", PERIOD_MARTS)
def test_every_number_of_a_mart_has_a_contract(model: str) -> None:
    told = {column for kpi in KPIS if kpi["model"] == model for column in kpi["columns"]}
    numbers = {name for name, data_type in columns(model).items() if is_number(data_type)}
    assert numbers - told == set()


@pytest.mark.parametrize("model", PERIOD_MARTS)
def test_a_distribution_has_all_four_statistics(model: str) -> None:
    names = set(columns(model))
    medians = {name.removesuffix("_p50") for name in names if name.endswith("_seconds_p50")}
    for of in medians:
        assert {f"{of}_{statistic}" for statistic in ("p50", "p75", "p90", "mean")} <= names


def test_a_mart_by_period_says_its_period() -> None:
    assert PERIOD_MARTS
    for model in PERIOD_MARTS:
        assert {"period", "period_start"} <= set(columns(model))


def test_names_are_unique() -> None:
    names = [kpi["name"] for kpi in KPIS]
    titles = [kpi["title"] for kpi in KPIS]
    assert len(set(names)) == len(names)
    assert len(set(titles)) == len(titles)
