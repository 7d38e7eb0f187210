"""The HTTP service: release loading, the API, pages, access control, metrics and the log of requests."""
