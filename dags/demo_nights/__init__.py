"""`make demo-nights`: nights of a demo world one after the other under Airflow, and what became of each."""
