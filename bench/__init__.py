"""Benchmarks: ours beside its peers; `make bench` runs them all (bench/run.py)."""
