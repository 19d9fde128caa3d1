"""The engine of a bulk send.

* :mod:`~airflow_provider_pindo._bulk.run` sends one campaign from start to end.
* :mod:`~airflow_provider_pindo._bulk.recipients` checks and spools them, and divides them into batches.
* :mod:`~airflow_provider_pindo._bulk.sender` sends what the ledger has admitted.
* :mod:`~airflow_provider_pindo._bulk.bulk_ledger` records what came of each recipient, and admits the next ones.
* :mod:`~airflow_provider_pindo._bulk.verdict` decides how the send ends.
* :mod:`~airflow_provider_pindo._bulk.totals` counts everybody once.
"""
