"""The transform: the dbt project from bronze to silver and gold, and the program that runs it."""

from forge_transform.project import project_dir

__all__ = ["project_dir"]
