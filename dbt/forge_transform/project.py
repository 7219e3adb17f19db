"""The dbt project as files: where it is, which tables it makes, and what identifies its state."""

from __future__ import annotations

import hashlib
from pathlib import Path

PARTS = ("dbt_project.yml", "macros", "models", "tests", "profiles.yml")
"""What makes up the project; pyproject.toml puts the same into the wheel."""

GOLD_TABLES = ("tickets", "ticket_costs", "platform_hourly", "coverage")


def project_dir() -> Path:
    """The folder with dbt_project.yml: inside an installed package, or beside the package in a checkout."""
    package = Path(__file__).parent
    for folder in (package / "dbt_project", package.parent):
        if (folder / "dbt_project.yml").is_file():
            return folder
    raise FileNotFoundError(f"dbt_project.yml is neither in {package / 'dbt_project'} nor in {package.parent}")


def relations(project: Path) -> frozenset[tuple[str, str]]:
    """Database and name of every table and view that the models make; one file is one model."""
    databases = {"staging": "silver", "silver": "silver", "gold": "gold"}
    return frozenset(
        (database, model.stem)
        for folder, database in databases.items()
        for model in (project / "models" / folder).rglob("*.sql")
    )


def files_fingerprint(project: Path) -> str:
    """Hash of the project's files: a new release of the project means that everything is built again."""
    digest = hashlib.sha256()
    for part in PARTS:
        root = project / part
        for file in sorted(path for path in [root, *root.rglob("*")] if path.is_file()):
            digest.update(str(file.relative_to(project)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()
