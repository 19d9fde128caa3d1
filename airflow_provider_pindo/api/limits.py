"""Numbers and names that several modules share, each written once. The connection form shows the same ones."""

from __future__ import annotations

#: The default ID of the Airflow connection.
DEFAULT_CONN_ID = "pindo_default"
#: Pindo's API, unless the connection names another host.
DEFAULT_HOST = "https://api.pindo.io"
#: Seconds to wait for the next bytes of a response. It is long, since a person has to settle a late response.
DEFAULT_TIMEOUT = 30.0
#: The longest ``timeout`` in seconds, a day: no response may hold a worker for longer.
MAX_TIMEOUT = 86_400.0
#: The whole response may take this many times ``timeout``, so that a slow one cannot hold a worker for long.
TOTAL_TIMEOUT_FACTOR = 4
#: The lowest ``requests_per_second``, one in almost three hours. A lower one is a mistake: use a schedule instead.
MIN_REQUESTS_PER_SECOND = 0.0001
#: How a ``suppression_list`` names a Variable: ``variable:NAME``.
VARIABLE_PREFIX = "variable:"
#: Characters of a sender ID (docs.pindo.ai, SMS configuration).
MAX_SENDER_LENGTH = 11
#: Characters of a message's id. Pindo's have about forty.
MAX_ID_LENGTH = 120
#: The largest whole number that a database and Airflow's supervisor can store, and so the largest id.
MAX_INTEGER = 2**63 - 1
#: Days after which a webhook event is deleted.
DEFAULT_RETENTION_DAYS = 30
#: The page size of Pindo's own sample, the only one that is published.
DEFAULT_PER_PAGE = 20
