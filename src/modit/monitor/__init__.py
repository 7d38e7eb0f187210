"""What runs came to, as metrics for Prometheus; reads what the steps wrote and decides nothing."""
