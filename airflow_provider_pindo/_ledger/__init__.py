"""Never twice: what a task is about to send, and the outcome, in Airflow's task state store."""
