"""A local Pindo for development and tests: the API over real HTTP, a page of phones, faults on demand.

``python -m airflow_provider_pindo.sandbox`` runs it from a shell. :class:`Sandbox` runs it inside a test,
and :class:`SandboxClient` controls one in another process. It needs aiohttp, and no Airflow. The names are
loaded when they are first used, since pytest imports this package in every run.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_pindo.sandbox.client import SandboxClient, SandboxError
    from airflow_provider_pindo.sandbox.runner import Sandbox

__all__ = ["Sandbox", "SandboxClient", "SandboxError"]

_MODULES = {"Sandbox": "runner", "SandboxClient": "client", "SandboxError": "client"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
