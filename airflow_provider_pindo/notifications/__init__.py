"""Alerts: text messages from Airflow's callbacks."""
