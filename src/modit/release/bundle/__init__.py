"""The bundle, the unit that is promoted: made from a run's artifacts, verified and loaded."""
