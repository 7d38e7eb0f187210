"""modit: generative retrieval that raises an attribute and stays in the pattern of its seeds."""

__version__ = "0.1.0"
