"""One HPPO round of a domain: kept if it raises the validation score, else the chain ends with the best so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modit.core.seeds import derived_seed
from modit.hppo.chain import ChainState, advance
from modit.hppo.round import ARTIFACTS, load_inputs
from modit.train.checkpoint import load_model
from modit.train.session import Journal

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads the domain's data, `finetuned` and the round before; writes `hppo_R`: model.pt, rounds.json, curve.json."""
    number = int(context.step.name.rsplit("_", 1)[1])
    reference = load_model(context.input("finetuned") / "model.pt")
    state = ChainState.start(reference) if number == 1 else ChainState.load(context.input(f"hppo_{number - 1}"))
    inputs = load_inputs({name: context.input(name) for name in ARTIFACTS}, context.domain, context.params)
    section, scratch = context.params.hppo, context.scratch
    journal = Journal(f"hppo_{number}", section.steps, context.logger, scratch / "curve.jsonl")
    seed = derived_seed(context.seed, "hppo", context.domain)
    state = advance(state, reference, inputs, section, number, seed, journal, scratch / "state.pt")
    folder = context.output(f"hppo_{number}")
    state.save(folder)
    journal.save(folder / "curve.json")
    context.logger.info("round %d: %s", number, state.summary())
    return state.rounds[-1]
