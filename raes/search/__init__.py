"""The parts of a search: noise, shaping, optimisers, statistics, schedules. Pure numpy, no clock, no file."""
