"""The task `fan_out`: an intent in, a set of items out, by one list or by a set of queries."""
