"""The engine of a bulk send.

* :mod:`~airflow_provider_pindo._bulk.run` sends one campaign from start to end.
* :mod:`~airflow_provider_pindo._bulk.preflight` checks and spools the rows; ``messages`` says what each becomes.
* :mod:`~airflow_provider_pindo._bulk.batches` divides them into batches, and a batch into requests.
* :mod:`~airflow_provider_pindo._bulk.estimate` says how long the send takes, and whether it fits into the window.
* :mod:`~airflow_provider_pindo._bulk.sender` sends what the ledger has admitted; ``admission`` chooses the next
  requests, ``gate`` looks at the window and at expiries, and ``breaker`` stops a send that is useless. ``own_loop``
  runs it in a thread of its own.
* :mod:`~airflow_provider_pindo._bulk.bulk_ledger` records what came of each recipient, and admits the next ones;
  ``batch_entry`` is the format of an entry, which a person or the page settles.
* :mod:`~airflow_provider_pindo._bulk.evidence` looks for the unknown recipients among Pindo's ``sent`` events;
  ``question`` asks a person about the others.
* :mod:`~airflow_provider_pindo._bulk.verdict` decides how the send ends.
* :mod:`~airflow_provider_pindo._bulk.totals` counts everybody once.
"""
