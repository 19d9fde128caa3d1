"""What Airflow needs to run a DAG, loaded and built once. Processes that are forked afterwards start with it.

A new process spends about ten CPU seconds on it: half for the imports, half for the routes of the in-process API.
Building them opens no database connection and leaves no thread, so a fork is safe.
"""

from __future__ import annotations

import asyncio
from typing import Any

import airflow.models.dagbag
import airflow.serialization.serialized_objects
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

import airflow_provider_pindo.hooks.pindo
import airflow_provider_pindo.notifications.sms  # noqa: F401


async def _request(transport: Any) -> None:
    import httpx

    async with httpx.AsyncClient(transport=transport, base_url="http://in-process.invalid") as client:
        (await client.get("/health")).raise_for_status()


if AIRFLOW_V_3_0_PLUS:
    import airflow.dag_processing.dagbag
    import airflow.sdk.execution_time.task_runner  # noqa: F401
    from airflow.sdk.execution_time.supervisor import in_process_api_server

    # Airflow builds the routes at the first request.
    asyncio.run(_request(in_process_api_server().atransport))
