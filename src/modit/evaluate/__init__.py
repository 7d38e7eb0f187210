"""Evaluation of a task: cases, rows that answer them, paired bootstrap, comparisons, slices, and the report."""
