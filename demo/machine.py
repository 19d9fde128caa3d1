"""The name of the machine that a component of :class:`~demo.cluster.Cluster` stands for."""

import os


def name() -> str:
    """Return it, as Airflow's ``[core] hostname_callable``."""
    return os.environ.get("PINDO_COMPONENT", "localhost")
