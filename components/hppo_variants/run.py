"""The variants of HPPO of a domain, each with as many rounds as the chain of steps and with its seed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from components.hppo_round import ROUNDS
from modit.core.seeds import derived_seed

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads the domain's data and `finetuned`; writes `hppo_variants`: variants.json, and a folder for each variant.

    A variant's folder holds model.pt, rounds.json and curve.json.
    """
    names, folder = context.params.hppo_variants.names, context.output("hppo_variants")
    content = {"hppo": context.params.hppo.variant, "names": names}
    (folder / "variants.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if not names:
        return {}
    from modit.hppo.chain import train_variants  # imports torch, which a run without variants does without

    return train_variants(
        {name: context.input(name) for name in context.step.inputs},
        context.domain,
        context.params,
        ROUNDS,
        derived_seed(context.seed, "hppo", context.domain),
        folder,
        context.scratch,
        context.logger,
    )
