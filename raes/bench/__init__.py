"""Benchmarks: `python -m raes.bench NAME`; each states a bar and whether this machine meets it."""
