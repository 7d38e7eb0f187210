"""Promotes, rejects and rolls back model versions, and shows a person what to look at before."""
