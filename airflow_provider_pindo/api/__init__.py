"""
What Pindo is: the sans-I/O core, in pure Python. No Airflow, no network, no files.

Both hooks send the same calls and read the answers with the same functions, so nothing about Pindo is written
once for each transport; and all of it is tested without a server.

What goes to Pindo and what comes back:

* :mod:`~airflow_provider_pindo.api.calls`: requests as values, checked before anything leaves.
* :mod:`~airflow_provider_pindo.api.answers`: what an answer, or the lack of one, means.
* :mod:`~airflow_provider_pindo.api.readers`: bodies of answers into values.
* :mod:`~airflow_provider_pindo.api.values`: what Pindo answers, as immutable values.
* :mod:`~airflow_provider_pindo.api.errors`: everything that can go wrong, as one tree.
* :mod:`~airflow_provider_pindo.api.phone`: phone numbers, read into E.164 and masked for logs.
* :mod:`~airflow_provider_pindo.api.arguments`: flags, choices, numbers and times that people write.

Whom a text goes to, and what it costs:

* :mod:`~airflow_provider_pindo.api.recipients`: whom a bulk send reaches, worked out before the first message.
* :mod:`~airflow_provider_pindo.api.repeats`: which of its rows stood before, without holding them.
* :mod:`~airflow_provider_pindo.api.mentions`: ``@contact.<field>`` in a text.
* :mod:`~airflow_provider_pindo.api.segments`: how many SMS a text is billed as.
* :mod:`~airflow_provider_pindo.api.listing`: what an error lists of many rows.
* :mod:`~airflow_provider_pindo.api.trim`: a text shortened to what some segments hold.

Waiting for a reply:

* :mod:`~airflow_provider_pindo.api.inbound`: which page is read next, and which messages on it are new.
* :mod:`~airflow_provider_pindo.api.matching`: which messages are meant.
* :mod:`~airflow_provider_pindo.api.patience`: how long a Pindo that does not answer is put up with.
* :mod:`~airflow_provider_pindo.api.storable`: what strangers write, made into what Airflow stores.
"""
