"""A local Pindo for development and tests: the API over real HTTP, a page of phones, faults on demand.

``python -m airflow_provider_pindo.sandbox`` runs it from a shell. :class:`Sandbox` runs it inside a test,
and :class:`SandboxClient` controls one in another process. It needs aiohttp, and no Airflow.
"""

from airflow_provider_pindo.sandbox.client import SandboxClient, SandboxError
from airflow_provider_pindo.sandbox.runner import Sandbox

__all__ = ["Sandbox", "SandboxClient", "SandboxError"]
