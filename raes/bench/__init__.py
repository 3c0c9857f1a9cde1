"""Benchmarks: `python -m raes.bench NAME`; each says what is fast enough and whether it is."""
