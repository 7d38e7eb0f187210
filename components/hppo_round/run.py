"""One HPPO round of a domain: kept if it raises the validation score, else the chain ends with the best so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modit.core.seeds import derived_seed
from modit.hppo.chain import ChainState, train_chain
from modit.hppo.round import ARTIFACTS, load_context
from modit.training.checkpoint import load_model

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads the domain's data, `finetuned` and the round before; writes `hppo_R`: model.pt, rounds.json, curve.json."""
    number = int(context.step.name.rsplit("_", 1)[1])
    reference = load_model(context.input("finetuned") / "model.pt")
    state = train_chain(
        f"hppo_{number}",
        ChainState.start(reference) if number == 1 else ChainState.load(context.input(f"hppo_{number - 1}")),
        reference,
        load_context({name: context.input(name) for name in ARTIFACTS}, context.domain, context.params),
        context.params.hppo,
        range(number, number + 1),
        derived_seed(context.seed, "hppo", context.domain),
        context.output(f"hppo_{number}"),
        context.scratch,
        context.logger,
    )
    return state.rounds[-1]
