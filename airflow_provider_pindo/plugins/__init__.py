"""What runs in Airflow's API server: the webhook receiver and the pages in Airflow's UI. Needs Airflow 3.1."""
