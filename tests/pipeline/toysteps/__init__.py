"""A small graph of steps for tests of the runner: numbers are read, split in domains, grown per domain and summed."""
