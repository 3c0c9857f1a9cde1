"""`python -m raes.doctor`: whether a run would work here, what would be in its way, and how long it would take."""
