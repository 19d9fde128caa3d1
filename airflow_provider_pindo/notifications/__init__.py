"""Alerts: what Airflow's callbacks can text."""
