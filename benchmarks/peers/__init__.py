"""The contenders of `python -m benchmarks peers`, each a program; those of other libraries import no RAES."""
