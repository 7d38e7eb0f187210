"""Which code and data a run had: git, DVC by its command line, and the record of a release."""
