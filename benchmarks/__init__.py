"""Benchmarks for developers: `python -m benchmarks NAME`. Not in the wheel; `python -m raes.bench` is for users."""
