"""The engine of a bulk send.

* :mod:`~airflow_provider_pindo._bulk.run` sends one campaign from start to end.
* :mod:`~airflow_provider_pindo._bulk.sources` reads the recipients.
* :mod:`~airflow_provider_pindo._bulk.recipients` checks them and divides them into chunks.
* :mod:`~airflow_provider_pindo._bulk.sender` sends, chunk by chunk.
* :mod:`~airflow_provider_pindo._bulk.chunk_ledger` keeps what came of each chunk.
* :mod:`~airflow_provider_pindo._bulk.totals` counts everybody once.
"""
