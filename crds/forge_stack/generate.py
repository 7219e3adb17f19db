"""forge-crd: write what is made from the model into a clone of the project: the CRD, its copy, the reference."""

from __future__ import annotations

import sys
from pathlib import Path

from forge_stack import crd, reference

FILES = {
    "crds/observabilitystacks.yaml": crd.render,
    "charts/forge-observability/files/observabilitystacks.yaml": crd.render,
    "docs/reference.md": reference.render,
}


def main() -> int:
    """Write the files below the folder given (this one when absent); with --check, say which are not current."""
    arguments = [a for a in sys.argv[1:] if a != "--check"]
    root = Path(arguments[0] if arguments else ".")
    if "--check" not in sys.argv:
        for name, render in FILES.items():
            (root / name).write_text(render(), encoding="utf-8")
        return 0
    stale = [name for name, render in FILES.items() if (root / name).read_text(encoding="utf-8") != render()]
    for name in stale:
        sys.stderr.write(f"{name} is not what the model says; run `make generate`\n")
    return 1 if stale else 0
