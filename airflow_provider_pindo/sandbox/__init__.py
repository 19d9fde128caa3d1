"""A local Pindo to develop and test against: the API over real HTTP, a page of phones, faults on demand.

``python -m airflow_provider_pindo.sandbox`` runs it by hand; :class:`Sandbox` runs it inside a test, and
:class:`SandboxClient` controls one in another process. It needs aiohttp, which Airflow's HTTP provider
brings, and no Airflow.
"""

from airflow_provider_pindo.sandbox.runner import Sandbox, SandboxClient, SandboxError

__all__ = ["Sandbox", "SandboxClient", "SandboxError"]
