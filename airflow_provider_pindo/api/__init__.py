"""
What Pindo is, in pure Python: no Airflow, no I/O.

:mod:`~airflow_provider_pindo.api.calls` builds requests as values,
:mod:`~airflow_provider_pindo.api.answers` reads what came back into values or errors, and
:mod:`~airflow_provider_pindo.api.errors` names what can go wrong. Both hooks send the same calls and
read the answers with the same functions, so nothing about Pindo is written once for each transport.
"""
