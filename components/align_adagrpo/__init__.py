"""Reward alignment of the retriever: a ranker's rewards, used where the ranker can be trusted."""

from __future__ import annotations

from modit.core.step import Resources, Step

STEP = Step(
    name="align_adagrpo",
    inputs=("catalog", "item_codes", "next_item_retriever_rad_dpo"),
    outputs=("next_item_retriever_adagrpo",),
    params=("align_adagrpo", "reward_ranker"),
    image="train",
    resources=Resources(cpus=2, memory_gb=8, gpus=1),
    timeout_minutes=480,
    effort=40,
    new_domain="taken",
)
