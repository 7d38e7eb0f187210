"""The registry of models and the release log: which versions exist, and which of them is promoted."""
