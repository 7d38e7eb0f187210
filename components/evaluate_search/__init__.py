"""Measures every row of the task `search` on the test queries."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="evaluate_search",
    inputs=("catalog", "towers", "consistent_index", "exported_towers", "search_champion"),
    outputs=("search_evaluation",),
    # the least relevance of train_towers is also that of evaluation
    params=("evaluate_search", "train_towers"),
    image="release",
    resources=Resources(cpus=2, memory_gb=8),
    timeout_minutes=240,
    effort=10,
)
