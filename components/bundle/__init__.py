"""Binds what is promoted of a domain into one unit: the bundle."""

from __future__ import annotations

from modit.core.step import Step

STEP = Step(
    name="bundle",
    inputs=("catalog", "index", "sampler", "second_stage", "predictor", "cases", "features", "report", "verdict"),
    outputs=("bundle",),
    per_domain=True,
    # It names the feature service of its run.
    reusable=False,
    image="release",
)
