"""The one unit that is promoted: made from a run's artifacts, checked and loaded again."""
