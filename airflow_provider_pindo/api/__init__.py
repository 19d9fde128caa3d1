"""What Pindo is: pure Python without Airflow, network or files.

Both hooks send the same calls and read the responses with the same functions, so each fact about Pindo is written once.

Requests and responses:

* :mod:`~airflow_provider_pindo.api.calls`: requests as values, checked before they are sent.
* :mod:`~airflow_provider_pindo.api.responses`: what a response, or a missing one, means.
* :mod:`~airflow_provider_pindo.api.parsers`: response bodies into values.
* :mod:`~airflow_provider_pindo.api.fields`: what several kinds of bodies have: an id, a short text, a time.
* :mod:`~airflow_provider_pindo.api.values`: what Pindo returns, as immutable values.
* :mod:`~airflow_provider_pindo.api.webhooks`: what a webhook is about, and the tokens that protect it.
* :mod:`~airflow_provider_pindo.api.delivery`: delivery reports, folded into the outcome of each message.
* :mod:`~airflow_provider_pindo.api.errors`: everything that can go wrong, as one tree.
* :mod:`~airflow_provider_pindo.api.redaction`: what an error or a log may repeat.
* :mod:`~airflow_provider_pindo.api.limits`: numbers that several modules share.

What people write:

* :mod:`~airflow_provider_pindo.api.arguments`: texts, sender IDs, PINs, flags, choices, numbers and times.
* :mod:`~airflow_provider_pindo.api.cells`: cells of a table, missing ones among them.
* :mod:`~airflow_provider_pindo.api.phone`: phone numbers, parsed into E.164 and masked for logs.
* :mod:`~airflow_provider_pindo.api.mentions`: ``@contact.<field>`` in a text.
* :mod:`~airflow_provider_pindo.api.opt_out`: whether an inbound message says STOP or START.
* :mod:`~airflow_provider_pindo.api.windows`: send windows, the days and hours in which messages may go out.
* :mod:`~airflow_provider_pindo.api.segments`: how many SMS a text is billed as, and a text shortened to fit.
* :mod:`~airflow_provider_pindo.api.json_safe`: foreign JSON made into JSON that Airflow can store.
"""
