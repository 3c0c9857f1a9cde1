"""Tests of real cluster launches, on hosts made of network namespaces."""
