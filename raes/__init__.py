"""RAES: Evolution Strategies on a Ray cluster (Salimans et al. 2017, arXiv 1703.03864)."""

__version__ = "0.1.0"
