"""docs/metrics.md, docs/gold.md and the API's gold.json, made from the gold models: each number is defined once, there.

`python -m forge_transform.reference [--check]`, in a clone of the project.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from forge_transform.project import project_dir

METRICS, GOLD, CONTRACT = Path("docs/metrics.md"), Path("docs/gold.md"), Path("api/forge_api/gold.json")
_MADE = "<!-- Made from dbt/models/gold by `make generate`; do not edit by hand. -->\n"
_METRICS = f"""\
# What each number means

{_MADE}
One entry a number. The same is in the store as `gold.metrics`, with whether your sources can tell it. The tables and
their columns: [gold.md](gold.md). How DORA's five are read here, with examples: [dora.md](dora.md).

What holds for all of them:

- Times are UTC, weeks begin on Monday. Durations are seconds on the calendar: no working hours are taken out.
- p50, p75 and p90 interpolate linearly between the closest ranks (as numpy and PERCENTILE.INC do).
- Money is US dollars as the source says it, exact decimals, of failed and abandoned work too.
- Null is "nobody could tell" (the source never loaded, nothing to divide by); 0 is "told, and there was none".
- Marts by period have `period` (day, week, month), `period_start`, `scope` (all, team, project, repository) and
  `scope_value`. A week is not the sum of its days' medians: each period is counted from its facts.
- A ticket is found in a pull request by its key in the branch, then title, description, commits; in a trace by the
  metadata `ticket`, then the session, a tag `ticket:<key>`, the trace's name. `link_method` says by which, and
  `link_confidence` how sure it is. What names none stays in the totals, unattributed.
- A key that a ticket had before it moved to another project counts as the ticket's own, by Jira's history.
- Rows that cannot be right are kept, named in `gold.data_quality`, and left out where that says so.
"""
_GOLD = f"""\
# The tables of gold

{_MADE}
What people and the API read. A table changes in one step, and only after every test of the transform has passed: else
the last good one stays. What the numbers mean: [metrics.md](metrics.md).
"""
_FIELDS = {
    "formula": "Formula",
    "unit": "Unit",
    "statistic": "Statistic",
    "clock": "Clock",
    "exclusions": "Left out",
    "sources": "Needs",
    "reference": "Source of the definition",
    "caveats": "Mind",
}


def gold_models() -> list[dict[str, Any]]:
    """The gold models as their files describe them, by name."""
    files = sorted((project_dir() / "models" / "gold").glob("*.yml"))
    return [model for file in files for model in yaml.safe_load(file.read_text(encoding="utf-8")).get("models", [])]


def kpis() -> list[dict[str, Any]]:
    """The contracts of the numbers, in the order of the catalogue."""
    (catalogue,) = (model for model in gold_models() if model["name"] == "metrics")
    found: list[dict[str, Any]] = catalogue["config"]["meta"]["kpis"]
    return found


def metrics_page() -> str:
    """docs/metrics.md: an index by theme, then one entry a number."""
    lines = [_METRICS]
    themes = [(theme, list(of)) for theme, of in itertools.groupby(kpis(), key=lambda kpi: kpi["theme"])]
    for theme, of in themes:
        lines.append(f"- **{theme}**: " + ", ".join(f"[{kpi['title']}](#{_anchor(kpi['title'])})" for kpi in of))
    for theme, of in themes:
        lines.append(f"\n## {theme}")
        for kpi in of:
            lines += _entry(kpi)
    return "\n".join(lines) + "\n"


def gold_page() -> str:
    """docs/gold.md: each table with its columns."""
    return _GOLD + "\n".join(line for model in gold_models() for line in _table(model)) + "\n"


def contract() -> str:
    """api/forge_api/gold.json: the tables with their columns, for the API, which imports nothing of this room."""
    tables = {
        model["name"]: {
            "description": _sentence(model["description"]),
            "columns": {c["name"]: [c["data_type"], _sentence(c["description"])] for c in model["columns"]},
        }
        for model in gold_models()
    }
    return json.dumps(tables, indent=1, ensure_ascii=False) + "\n"


def _entry(kpi: dict[str, Any]) -> list[str]:
    columns = ", ".join(f"`{column}`" for column in _together(kpi["columns"]))
    path = f"dbt/models/gold/{kpi['model']}.sql"
    lines = [f"\n### {kpi['title']}\n", kpi["definition"], "", f"- Where: `gold.{kpi['model']}`: {columns}"]
    for field, label in _FIELDS.items():
        value = kpi.get(field)
        if isinstance(value, list):
            value = ", ".join(value)
        if value:
            lines.append(f"- {label}: {_sentence(str(value))}")
    why = "" if kpi["drill_down"] == kpi["model"] else f"; the rows that say why: `gold.{kpi['drill_down']}`"
    return [*lines, f"- Model: [{path}](../{path}){why}"]


def _together(columns: list[str]) -> list[str]:
    """The four statistics of one set of numbers as one: `cycle_seconds_{p50,p75,p90,mean}`."""
    statistics = ("p50", "p75", "p90", "mean")
    told: list[str] = []
    for column in columns:
        name, _, statistic = column.rpartition("_")
        whole = all(f"{name}_{one}" in columns for one in statistics)
        if whole and statistic in statistics:
            column = f"{name}_{{{','.join(statistics)}}}"
        if column not in told:
            told.append(column)
    return told


def _table(model: dict[str, Any]) -> list[str]:
    head = [f"\n## gold.{model['name']}\n", _sentence(model["description"]), ""]
    head += ["| column | type | meaning |", "| --- | --- | --- |"]
    return head + [f"| `{c['name']}` | {_cell(c['data_type'])} | {_cell(c['description'])} |" for c in model["columns"]]


def _anchor(title: str) -> str:
    """As GitHub makes one of a heading."""
    kept = "".join(sign for sign in title.lower() if sign.isalnum() or sign in " -_")
    return kept.replace(" ", "-")


def _sentence(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _sentence(text).replace("|", "\\|")


def main() -> int:
    """Write the pages, or with --check say which is not current."""
    stale = 0
    for page, text in ((METRICS, metrics_page()), (GOLD, gold_page()), (CONTRACT, contract())):
        if "--check" not in sys.argv:
            page.write_text(text, encoding="utf-8")
        elif not page.exists() or page.read_text(encoding="utf-8") != text:
            sys.stderr.write(f"{page} is not what the gold models say; run `make generate`\n")
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
