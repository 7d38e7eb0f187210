"""Names of the rows of the task `fan_out`, as `evaluation.json` has them."""

from __future__ import annotations

# One list of the intent, by words and text space as what is served; and by each alone.
NO_FAN_OUT = "No fan-out"
SPACE, BM25 = "No fan-out, text space", "No fan-out, BM25"
MMR, DPP = "One list, MMR", "One list, DPP"
UNTRAINED, BEST_OF = "Policy before RL", "Policy before RL, best of {count}"
POLICY, DIFFUSION = "Policy", "Diffusion"
DIFFUSION_UNTRAINED, REGRESSION = "Diffusion, samples from before RL", "Regression"
WITH_INTENT = "{row} + intent"
# What is served: the exported files.
SERVED = WITH_INTENT.format(row=DIFFUSION)
