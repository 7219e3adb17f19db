"""How long a newcomer waits for the first numbers."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from bench.result import Result

ROOT = Path(__file__).resolve().parents[1]


def seconds(name: str) -> Result:
    """`make demo ONCE=1` from the command to its end, packages installed already."""
    begun = time.monotonic()
    done = subprocess.run(["make", "demo", "ONCE=1"], cwd=ROOT, capture_output=True, text=True, check=False)
    took = time.monotonic() - begun
    if done.returncode:
        raise RuntimeError(f"make demo ended with {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    steps = [line.strip() for line in done.stdout.splitlines() if line.startswith(("✓", "store ready"))]
    return Result(name, "s", took, note="; ".join(steps))
