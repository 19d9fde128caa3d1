"""Never twice: what a task is about to send and what came of it, in Airflow's task state store."""
