"""Views on the steps' declarations for tools other than Airflow."""
