"""The gate with two keys: the champion, the evidence of a run, and the verdict on it."""
