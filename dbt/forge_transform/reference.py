"""docs/metrics.md, made from the descriptions of the gold models: each number is defined once, there.

`python -m forge_transform.reference [--check]`, in a clone of the project.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from forge_transform.project import project_dir

PAGE = Path("docs/metrics.md")
_HEAD = """\
# What each number in gold means

<!-- Made from dbt/models/gold by `make generate`; do not edit by hand. -->

Conventions of every table:

- Times are UTC. Durations are seconds on the calendar: no working hours are taken out.
- Money is US dollars as the source says it, exact decimals, of failed and abandoned work too.
- A count is null when the source that would tell never loaded, and 0 when it did and found none.
- A ticket is found in a pull request by its key in the branch, then the title, then the body; in a trace by the
  metadata `ticket`, then the session, then a tag `ticket:<key>`, then the trace's name. What names none stays in the
  totals, unattributed.
- A key that a ticket had before it moved to another project counts as the ticket's own, by Jira's history.
- Cost counts at the deepest observation of a trace that has cost, tokens at the deepest that has tokens, so that no
  parent counts a child again.
"""


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


def _section(model: dict[str, Any]) -> list[str]:
    lines = [
        f"\n## gold.{model['name']}\n",
        _cell(model["description"]),
        "",
        "| column | type | meaning |",
        "| --- | --- | --- |",
    ]
    return lines + [
        f"| `{c['name']}` | {_cell(c['data_type'])} | {_cell(c['description'])} |" for c in model["columns"]
    ]


def render() -> str:
    """The page."""
    models = [
        model
        for file in sorted((project_dir() / "models" / "gold").glob("*.yml"))
        for model in yaml.safe_load(file.read_text(encoding="utf-8"))["models"]
    ]
    return _HEAD + "\n".join(line for model in models for line in _section(model)) + "\n"


def main() -> int:
    """Write the page, or with --check say whether it is current."""
    if "--check" not in sys.argv:
        PAGE.write_text(render(), encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == render():
        return 0
    sys.stderr.write(f"{PAGE} is not what the gold models say; run `make generate`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
