"""Run the provider for real on this machine: Airflow and the sandbox together, with nothing to set up.

``python -m demo`` texts tomorrow's patients once and shows what their phones received; ``python -m demo up``
leaves everything running to look at. The end-to-end tests start Airflow in the same way.
"""
