"""`python -m raes.doctor`: whether a run would work here, and what would be in its way."""
