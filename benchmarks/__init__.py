"""Benchmarks: the provider compared with the fastest plain Python for the same work (``make bench``)."""
