"""What Pindo is: pure Python without Airflow, network or files.

Both hooks send the same calls and read the responses with the same functions, so each fact about Pindo stands once.

What goes to Pindo and what comes back:

* :mod:`~airflow_provider_pindo.api.calls`: requests as values, checked before anything leaves.
* :mod:`~airflow_provider_pindo.api.responses`: what a response, or the lack of one, means.
* :mod:`~airflow_provider_pindo.api.parsers`: bodies of responses into values.
* :mod:`~airflow_provider_pindo.api.values`: what Pindo returns, as immutable values.
* :mod:`~airflow_provider_pindo.api.errors`: everything that can go wrong, as one tree.
* :mod:`~airflow_provider_pindo.api.redaction`: what an error or a log may repeat.

What people write:

* :mod:`~airflow_provider_pindo.api.arguments`: flags, choices, numbers and times.
* :mod:`~airflow_provider_pindo.api.phone`: phone numbers, parsed into E.164 and masked for logs.
* :mod:`~airflow_provider_pindo.api.mentions`: ``@contact.<field>`` in a text.
* :mod:`~airflow_provider_pindo.api.segments`: how many SMS a text is billed as, and a text cut to fit.
* :mod:`~airflow_provider_pindo.api.json_safe`: what strangers write, made into what Airflow can store.
"""
