"""The host name of a component of :class:`~demo.cluster.Cluster`."""

import os


def name() -> str:
    """Return the host name: the value of Airflow's ``[core] hostname_callable``."""
    return os.environ.get("PINDO_COMPONENT", "localhost")
