"""HPPO: candidates, their labels on the index, preference pairs and loss, rounds, validation."""
