"""Airflow's views on the steps' declarations."""
