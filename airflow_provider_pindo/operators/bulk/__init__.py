"""
The bulk send, in five parts.

:mod:`~airflow_provider_pindo.operators.bulk.operator` is the task;
:mod:`~airflow_provider_pindo.operators.bulk.sources` are its recipients, whatever they come from;
:mod:`~airflow_provider_pindo.operators.bulk.sender` sends to them, chunk by chunk;
:mod:`~airflow_provider_pindo.operators.bulk.ledger` keeps what came of each chunk, over retries and crashes; and
:mod:`~airflow_provider_pindo.operators.bulk.report` counts everybody once. Which rows are sent to, and in which
chunks, is worked out by :mod:`airflow_provider_pindo.api.recipients`.
"""
