"""For every test."""

# `import feast` switches prometheus_client to files that all registries of a process share, if it comes first.
import prometheus_client  # noqa: F401
