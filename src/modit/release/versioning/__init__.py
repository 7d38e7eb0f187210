"""The code and data of a run: git, DVC by its command line, the record of a release, and running it again."""
