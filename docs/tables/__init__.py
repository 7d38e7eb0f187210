"""The tables that `docs.generate` writes, a module for each subject."""
