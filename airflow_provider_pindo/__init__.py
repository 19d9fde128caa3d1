"""Apache Airflow provider for Pindo, an SMS and verification API used in Rwanda and across Africa."""

__version__ = "0.1.0"
