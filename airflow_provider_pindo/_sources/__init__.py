"""Lists of people: rows with a number, from a list, a generator, an XCom, a DataFrame or a file.

* :mod:`~airflow_provider_pindo._sources.rows` reads the recipients of a bulk send.
* :mod:`~airflow_provider_pindo._sources.numbers` reads the numbers that must not be texted.
"""
