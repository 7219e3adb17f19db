import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# Programs, not packages: they run before anything is installed, so they are found by their folders.
sys.path += [str(ROOT / "tests" / "cluster"), str(ROOT / "images")]
