"""Benchmarks: the provider compared with the fastest plain Python for the same work (``make bench``)."""

from __future__ import annotations

from pathlib import Path


def peak_memory_of_this_process() -> float:
    """Return the peak in MB. Linux measures it; getrusage would include the parent's memory."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
