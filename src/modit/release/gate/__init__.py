"""Judges a run: the champion, the evidence, the verdict, and what would change for callers."""
