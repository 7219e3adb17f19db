"""The benchmarks: `make bench`, or `python -m bench --only PREFIX`."""
