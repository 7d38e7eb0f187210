"""Artifacts, the declaration of steps and how they run: keys, locks, parameters, storage, errors, seeds, logging."""
