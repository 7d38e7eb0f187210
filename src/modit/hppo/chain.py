"""The chain of rounds: keep a round that raises the validation score, stop at the first that does not (patience 0)."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modit.core.params import Params
from modit.hppo.blends import Blend, score_blends
from modit.hppo.inputs import RoundInputs
from modit.hppo.round import draw_cases, run_round
from modit.hppo.validation import ValidationScore
from modit.model.dit import MODiT
from modit.model.storage import load_model, save_model
from modit.train.loop import Log


@dataclass(frozen=True)
class ChainState:
    """The best model so far and what the rounds did.

    Attributes:
        model: the best by validation; SFT's own where no round was kept.
        rounds: a record for each round; record 0 is SFT's score.
        stopped: whether the chain has ended.
    """

    model: MODiT
    rounds: list[dict[str, Any]]
    stopped: bool

    @classmethod
    def start(cls, reference: MODiT) -> ChainState:
        """Before round 1."""
        return cls(reference, [], False)

    @classmethod
    def load(cls, folder: Path) -> ChainState:
        """Reads what `save` wrote."""
        stored = json.loads((folder / "rounds.json").read_text())
        return cls(load_model(folder / "model.pt"), stored["rounds"], stored["stopped"])

    def save(self, folder: Path) -> None:
        """Writes model.pt and rounds.json."""
        save_model(folder / "model.pt", self.model)
        content = {"rounds": self.rounds, "stopped": self.stopped}
        (folder / "rounds.json").write_text(json.dumps(content, indent=1) + "\n")

    def summary(self) -> str:
        """The last record in words."""
        last = self.rounds[-1]
        if last.get("skipped"):
            return str(last["skipped"])
        verdict = "kept" if last["kept"] else "not kept, the chain ends"
        kinds = f"items {last['item_joint']:.4f}, patterns {last['pattern_joint']:.4f}"
        return f"validation Joint {last['joint']:.4f} ({kinds}), {verdict}"


def advance(
    state: ChainState,
    reference: MODiT,
    inputs: RoundInputs,
    params: Params,
    number: int,
    seed: int,
    log: Log,
    checkpoint: Path | None = None,
) -> ChainState:
    """Runs round `number` unless the chain has stopped.

    The bar starts at SFT's own validation score (specification section 6: Algorithm 2's minus infinity would always
    accept round 1).
    """
    if state.stopped:
        return ChainState(
            state.model, [*state.rounds, {"round": number, "kept": False, "skipped": "the chain had ended"}], True
        )
    rounds = list(state.rounds)
    if not rounds:
        rounds.append({"round": 0, "kept": True, **inputs.validator.score(reference).as_dict()})
    best = max((record for record in rounds if record["kept"]), key=lambda record: record["joint"])
    section, trajectories = params.hppo, inputs.trajectories
    seeds = params.build_trajectories.seeds
    cases = draw_cases(trajectories, seeds, section.cases, params.finetune.full_share, seed + number)
    policy, facts = run_round(
        copy.deepcopy(state.model),
        reference,
        inputs.world,
        cases,
        section,
        params.sampler,
        best["guidance"],
        number,
        seed,
        log,
        checkpoint,
    )
    blends = score_blends(state.model, policy, section.blends, inputs.validator)
    blend = best_blend(blends, best, section.fall_allowed)
    kept = improves(blend.score, best, section.fall_allowed)
    rounds.append({"round": number, "kept": kept, "blend": blend.share, **blend.score.as_dict(), **facts})
    last = section.variant == "off_policy"
    return ChainState(blend.model if kept else state.model, rounds, not kept or last)


def improves(score: ValidationScore, best: dict[str, Any], fall_allowed: float) -> bool:
    """Whether the mean of both kinds rises and neither kind falls by more than `fall_allowed`."""
    new = score.as_dict()  # rounded like the record: an unchanged model must not win by a digit that was cut off
    falls = min(new[kind] - best[kind] for kind in ("item_joint", "pattern_joint"))
    return new["joint"] > best["joint"] and falls >= -fall_allowed


def best_blend(blends: Sequence[Blend], best: dict[str, Any], fall_allowed: float) -> Blend:
    """The best by validation of the blends that would be kept, else the best of all."""
    return max(blends, key=lambda blend: (improves(blend.score, best, fall_allowed), blend.score.joint))
