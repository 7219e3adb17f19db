"""`python -m forge_transform.warm`: keep the manifest beside the project. For the build of an image."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from dbt.contracts.graph.manifest import Manifest

from forge_transform.build import parse
from forge_transform.project import project_dir

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        result = parse(project_dir(), Path(folder))
    sys.exit(0 if isinstance(result, Manifest) else f"dbt cannot parse the project: {result}")
