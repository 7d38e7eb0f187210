"""Engines that a site already runs: collections of vectors at an address, searched by the rows of a catalogue."""
