"""The steps: a folder each, with the declaration in `__init__.py` and the work in `run.py`."""
