"""The dbt project as files: where it is, which tables it makes, and what identifies its state."""

from __future__ import annotations

import hashlib
from pathlib import Path

PARTS = ("dbt_project.yml", "macros", "models", "tests", "profiles.yml")
"""What makes up the project; pyproject.toml puts the same into the wheel."""

DATABASES = {"staging": "silver", "silver": "silver", "gold": "gold_next"}
"""Which database the models of a folder are built in, as dbt_project.yml says it to dbt."""


def project_dir() -> Path:
    """The folder with dbt_project.yml: inside an installed package, or beside the package in a checkout."""
    package = Path(__file__).parent
    for folder in (package / "dbt_project", package.parent):
        if (folder / "dbt_project.yml").is_file():
            return folder
    raise FileNotFoundError(f"dbt_project.yml is neither in {package / 'dbt_project'} nor in {package.parent}")


def gold_tables(project: Path) -> frozenset[str]:
    """Names of the tables of gold; one file is one model."""
    return frozenset(model.stem for model in (project / "models" / "gold").rglob("*.sql"))


def relations(project: Path) -> frozenset[tuple[str, str]]:
    """Database and name of every table and view that the models make, and of gold as it is published."""
    built = {
        (database, model.stem)
        for folder, database in DATABASES.items()
        for model in (project / "models" / folder).rglob("*.sql")
    }
    return frozenset(built | {("gold", table) for table in gold_tables(project)})


def files_fingerprint(project: Path) -> str:
    """Hash of the project's files: a new release of the project means that everything is built again."""
    digest = hashlib.sha256()
    for part in PARTS:
        root = project / part
        for file in sorted(path for path in [root, *root.rglob("*")] if path.is_file()):
            digest.update(str(file.relative_to(project)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()
