"""The chain of rounds: keep a round that raises the validation score, stop at the first that does not (patience 0)."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modit.core.errors import ArtifactError
from modit.hppo.params import HPPOParams
from modit.hppo.round import RoundContext, run_round
from modit.hppo.validation import Blend, ValidationScore, score_blends
from modit.model.dit import MODiT
from modit.training.checkpoint import load_model, save_model
from modit.training.distributed import from_first
from modit.training.loop import Log
from modit.training.session import Journal

MODEL_FILE, ROUNDS_FILE = "model.pt", "rounds.json"


def serving_guidance(folder: Path) -> float:
    """The scale that validation chose for the model of an HPPO artifact: that of its best kept round.

    Raises:
        ArtifactError: `rounds.json` names none.
    """
    path = folder / ROUNDS_FILE
    try:
        kept = [record for record in json.loads(path.read_text(encoding="utf-8"))["rounds"] if record["kept"]]
        return float(max(kept, key=lambda record: record["joint"])["guidance"])
    except (OSError, KeyError, ValueError) as error:
        raise ArtifactError(f"{path}: field rounds names no kept round with joint and guidance: {error}") from error


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
        stored = json.loads((folder / ROUNDS_FILE).read_text())
        return cls(load_model(folder / MODEL_FILE), stored["rounds"], stored["stopped"])

    def save(self, folder: Path) -> None:
        """Writes model.pt and rounds.json."""
        save_model(folder / MODEL_FILE, self.model)
        content = {"rounds": self.rounds, "stopped": self.stopped}
        (folder / ROUNDS_FILE).write_text(json.dumps(content, indent=1) + "\n")

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
    context: RoundContext,
    section: HPPOParams,
    number: int,
    seed: int,
    log: Log,
    checkpoint: Path | None = None,
) -> ChainState:
    """Runs round `number` unless the chain has stopped.

    A round is kept if it beats the best score so far. Before round 1 that is SFT's own validation score: Algorithm 2
    starts at minus infinity, which would always accept round 1 (specification section 6).

    Args:
        state: after the round before.
        reference: the SFT model.
        context: what the round works on.
        section: section `hppo`.
        number: of the round, from 1.
        seed: of the chain.
        log: of the training loop.
        checkpoint: file that the training loop resumes from.
    """
    if state.stopped:
        skipped = {"round": number, "kept": False, "skipped": "the chain had ended"}
        return ChainState(state.model, [*state.rounds, skipped], True)
    validator, rounds = context.validator, list(state.rounds)
    if not rounds:
        rounds.append({"round": 0, "kept": True, **validator.score(reference).as_dict()})
    best = max((record for record in rounds if record["kept"]), key=lambda record: record["joint"])
    policy = copy.deepcopy(state.model)
    policy, facts = run_round(policy, reference, context, section, best["guidance"], number, seed, log, checkpoint)
    blend = best_blend(score_blends(state.model, policy, section.blends, validator), best, section.fall_allowed)
    kept = improves(blend.score, best, section.fall_allowed)
    rounds.append({"round": number, "kept": kept, "blend": blend.share, **blend.score.as_dict(), **facts})
    last = section.variant == "off_policy" or number >= section.rounds
    return ChainState(blend.model if kept else state.model, rounds, not kept or last)


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
        """Drops the figures of later steps of the round."""
        self.chain.rewind(self.before + step)


def run_chain(
    state: ChainState,
    reference: MODiT,
    context: RoundContext,
    section: HPPOParams,
    rounds: range,
    seed: int,
    journal: Journal,
    scratch: Path,
) -> ChainState:
    """Runs some rounds, one after the other; after an interruption it goes on after the last round that it finished.

    Args:
        state: after the round before the first of `rounds`.
        reference: the SFT model.
        context: what the rounds work on.
        section: section `hppo`.
        rounds: their numbers, from 1; those after the end of the chain are noted as skipped.
        seed: of the chain.
        journal: of all these rounds.
        scratch: local folder of these rounds that survives a crash.

    Returns:
        The state after the last round, with a record for each round.
    """
    # In a team the first process's state counts: others cannot resume, and all must train the same rounds.
    state = from_first(_finished(scratch, rounds) or state)
    for number in rounds[max(1, len(state.rounds)) - rounds.start :]:
        log = RoundLog(journal, (number - rounds.start) * section.steps)
        checkpoint = scratch / f"round_{number}.pt"
        state = from_first(advance(state, reference, context, section, number, seed, log, checkpoint))
        state.save_whole(scratch / f"round_{number}")
        journal.logger.info("%s: round %d: %s", journal.stage, number, state.summary())
    return state


def train_chain(
    name: str,
    state: ChainState,
    reference: MODiT,
    context: RoundContext,
    section: HPPOParams,
    rounds: range,
    seed: int,
    output: Path,
    scratch: Path,
    logger: logging.Logger,
) -> ChainState:
    """Runs some rounds and writes model.pt, rounds.json and curve.json.

    Args:
        name: of the training stage, for its curve.
        state: after the round before the first of `rounds`.
        reference: the SFT model.
        context: what the rounds work on.
        section: section `hppo`.
        rounds: their numbers, from 1.
        seed: of the chain.
        output: folder for the files.
        scratch: local folder that survives a crash; what is finished there is not trained again.
        logger: for progress.
    """
    journal = Journal(name, len(rounds) * section.steps, logger, scratch / "curve.jsonl")
    state = run_chain(state, reference, context, section, rounds, seed, journal, scratch)
    state.save(output)
    journal.save(output / "curve.json")
    return state


def _finished(scratch: Path, rounds: range) -> ChainState | None:
    """The state after the last round that an earlier attempt finished."""
    folders = [scratch / f"round_{number}" for number in reversed(rounds)]
    return next((ChainState.load(folder) for folder in folders if folder.exists()), None)


def improves(score: ValidationScore, best: dict[str, Any], fall_allowed: float) -> bool:
    """Whether the mean of both kinds rises and neither kind falls by more than `fall_allowed`."""
    new = score.as_dict()  # rounded like the record: an unchanged model must not win by a digit that was cut off
    falls = min(new[kind] - best[kind] for kind in ("item_joint", "pattern_joint"))
    return new["joint"] > best["joint"] and falls >= -fall_allowed


def best_blend(blends: Sequence[Blend], best: dict[str, Any], fall_allowed: float) -> Blend:
    """The best by validation of the blends that would be kept, else the best of all."""
    return max(blends, key=lambda blend: (improves(blend.score, best, fall_allowed), blend.score.joint))
