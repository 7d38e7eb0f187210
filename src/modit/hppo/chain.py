"""The chain of rounds: keep a round that raises the validation score, stop at the first that does not (patience 0)."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modit.core.context import DeclaredParams
from modit.hppo.params import HPPOParams
from modit.hppo.round import RoundInputs, draw_cases, load_inputs, run_round
from modit.hppo.validation import Blend, ValidationScore, score_blends
from modit.model.dit import MODiT
from modit.train.checkpoint import load_model, save_model
from modit.train.distributed import from_first
from modit.train.loop import Log
from modit.train.session import Journal


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

    def save_whole(self, folder: Path) -> None:
        """Writes a folder that is either complete or not there."""
        unfinished = folder.with_name(f"{folder.name}.tmp")
        unfinished.mkdir(parents=True, exist_ok=True)
        self.save(unfinished)
        unfinished.rename(folder)

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
    section: HPPOParams,
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
    policy, facts = train_round(
        copy.deepcopy(state.model),
        reference,
        inputs,
        section,
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


def train_round(
    policy: MODiT,
    reference: MODiT,
    inputs: RoundInputs,
    section: HPPOParams,
    guidance: float,
    number: int,
    seed: int,
    log: Log,
    checkpoint: Path | None = None,
) -> tuple[MODiT, dict[str, float]]:
    """Draws the training cases of round `number` and runs it on `policy` in place; nothing is validated.

    Arguments and what comes back are those of `run_round`.
    """
    cases = draw_cases(inputs.trajectories, inputs.seeds, section.cases, inputs.full_share, seed + number)
    context, sampler = inputs.context, inputs.sampler
    return run_round(policy, reference, context, cases, section, sampler, guidance, number, seed, log, checkpoint)


@dataclass(frozen=True)
class RoundLog:
    """The log of one round within that of a chain, whose steps count on from round to round.

    Attributes:
        chain: where the figures go.
        before: steps of the rounds before.
    """

    chain: Log
    before: int

    def __call__(self, step: int, figures: dict[str, float]) -> None:
        """Takes the figures of a step of the round."""
        self.chain(self.before + step, figures)

    def rewind(self, step: int) -> None:
        """Forgets what lies beyond a step of the round."""
        self.chain.rewind(self.before + step)


def run_chain(
    reference: MODiT,
    inputs: RoundInputs,
    section: HPPOParams,
    rounds: int,
    seed: int,
    journal: Journal,
    scratch: Path,
) -> ChainState:
    """Runs rounds 1 to `rounds`; a chain that was interrupted goes on after the last round that it finished.

    Args:
        reference: the SFT model.
        inputs: of every round.
        section: section `hppo`.
        rounds: how many, >= 1; those after the end of the chain are noted as skipped.
        seed: of the run.
        journal: of the whole chain.
        scratch: local folder of this chain that survives a crash.

    Returns:
        The state after the last round, with `rounds` + 1 records.
    """
    # In a team the first process's state counts: others cannot resume, and all must train the same rounds.
    state = from_first(_finished(scratch, rounds) or ChainState.start(reference))
    for number in range(max(1, len(state.rounds)), rounds + 1):
        log = RoundLog(journal, (number - 1) * section.steps)
        checkpoint = scratch / f"round_{number}.pt"
        state = from_first(advance(state, reference, inputs, section, number, seed, log, checkpoint))
        state.save_whole(scratch / f"round_{number}")
        journal.logger.info("%s: round %d: %s", journal.stage, number, state.summary())
    return state


def _finished(scratch: Path, rounds: int) -> ChainState | None:
    """The state after the last round that an earlier attempt finished."""
    folders = [scratch / f"round_{number}" for number in range(rounds, 0, -1)]
    return next((ChainState.load(folder) for folder in folders if folder.exists()), None)


def improves(score: ValidationScore, best: dict[str, Any], fall_allowed: float) -> bool:
    """Whether the mean of both kinds rises and neither kind falls by more than `fall_allowed`."""
    new = score.as_dict()  # rounded like the record: an unchanged model must not win by a digit that was cut off
    falls = min(new[kind] - best[kind] for kind in ("item_joint", "pattern_joint"))
    return new["joint"] > best["joint"] and falls >= -fall_allowed


def best_blend(blends: Sequence[Blend], best: dict[str, Any], fall_allowed: float) -> Blend:
    """The best by validation of the blends that would be kept, else the best of all."""
    return max(blends, key=lambda blend: (improves(blend.score, best, fall_allowed), blend.score.joint))


def train_variants(
    folders: dict[str, Path],
    domain: str,
    params: DeclaredParams,
    rounds: int,
    seed: int,
    output: Path,
    scratch: Path,
    logger: logging.Logger,
) -> dict[str, Any]:
    """Trains the variants that section `hppo_variants` names; of section `hppo` only `variant` differs.

    Args:
        folders: of the artifacts that `load_inputs` reads, and of `finetuned`.
        domain: which one.
        params: of the run.
        rounds: of each chain, >= 1.
        seed: that of HPPO's own chain, so that rows differ by their variant alone.
        output: gets NAME/ with model.pt, rounds.json and curve.json for each variant.
        scratch: local folder that survives a crash; what is finished there is not trained again.
        logger: for progress.

    Returns:
        The record of the last kept round of each variant, by its name.
    """
    reference = load_model(folders["finetuned"] / "model.pt")
    inputs = load_inputs(folders, domain, params)
    best: dict[str, Any] = {}
    for name in params.hppo_variants.names:
        section = params.hppo.model_copy(update={"variant": name})
        own, folder = scratch / name, output / name
        for place in (own, folder):
            place.mkdir(parents=True, exist_ok=True)
        journal = Journal(f"hppo_{name}", rounds * section.steps, logger, own / "curve.jsonl")
        state = run_chain(reference, inputs, section, rounds, seed, journal, own)
        state.save(folder)
        journal.save(folder / "curve.json")
        best[name] = [record for record in state.rounds if record["kept"]][-1]
    return best
