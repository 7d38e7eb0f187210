"""The variants of HPPO of a domain: each is a whole chain from the SFT model, with the seed of the chain of steps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from components.hppo_round import ROUNDS
from modit.core.seeds import derived_seed

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads the domain's data and `finetuned`; writes `hppo_variants`: variants.json, and a folder for each variant.

    A variant's folder holds model.pt, rounds.json and curve.json. Of section `hppo` only `variant` differs.
    """
    names, output = context.params.hppo_variants.names, context.output("hppo_variants")
    content = {"hppo": context.params.hppo.variant, "names": names}
    (output / "variants.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if not names:
        return {}
    from modit.hppo.chain import ChainState, train_chain  # these import torch, which a run without variants never needs
    from modit.hppo.round import ARTIFACTS, load_context
    from modit.training.checkpoint import load_model

    reference = load_model(context.input("finetuned") / "model.pt")
    inputs = load_context({name: context.input(name) for name in ARTIFACTS}, context.domain, context.params)
    seed = derived_seed(context.seed, "hppo", context.domain)
    best: dict[str, object] = {}
    for name in names:
        section, folder, scratch = (
            context.params.hppo.model_copy(update={"variant": name}),
            output / name,
            context.scratch / name,
        )
        for place in (folder, scratch):
            place.mkdir(parents=True, exist_ok=True)
        rounds = range(1, ROUNDS + 1)
        start = ChainState.start(reference)
        state = train_chain(
            f"hppo_{name}", start, reference, inputs, section, rounds, seed, folder, scratch, context.logger
        )
        best[name] = [record for record in state.rounds if record["kept"]][-1]
    return best
