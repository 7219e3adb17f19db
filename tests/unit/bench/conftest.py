import sys
from pathlib import Path

# The benchmarks are a package of the clone that nobody installs.
sys.path.append(str(Path(__file__).resolve().parents[3]))
