"""Patterns, density labels and their predictor, the geometry of a domain, trajectories and cases."""
