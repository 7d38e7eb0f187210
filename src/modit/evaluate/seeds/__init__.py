"""The task `seeds`: items of one pattern are given; results count that keep the pattern and have the attribute."""
