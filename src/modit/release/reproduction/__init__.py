"""A registered version is run again and compared."""
