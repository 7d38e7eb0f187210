"""Judges one list, one list reordered, policies, diffusions and a regressor at one pool."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from modit.core.names import FAN_OUT
from modit.core.seeds import derived_seed
from modit.data.catalog import Catalog
from modit.data.judged_queries import JudgedQueries
from modit.data.text_space import TextSpace
from modit.evaluate.bm25 import bm25_grid
from modit.evaluate.evaluation import EvaluationSettings, evaluate_task, headline
from modit.evaluate.fan_out.names import (
    BEST_OF,
    DIFFUSION,
    DIFFUSION_UNTRAINED,
    NO_FAN_OUT,
    POLICY,
    REGRESSION,
    SERVED,
    SPACE,
    UNTRAINED,
    WITH_INTENT,
)
from modit.evaluate.fan_out.rows import (
    MIXED_GRID,
    OneQuery,
    PolicySets,
    RegressedSets,
    TunedSets,
    listed_by_words,
    reordered_rows,
    sampled_sets,
)
from modit.evaluate.fan_out.task import FanOutTask
from modit.evaluate.report.task_page import save_page
from modit.evaluate.storage import save_evaluation
from modit.evaluate.task import Row, TunableRow
from modit.fan_out.diffusion import load_denoiser, load_regressor
from modit.fan_out.policy import load_policy
from modit.fan_out.rewards import SetReward
from modit.inference.fan_out import FanOutRetriever, SetGenerator, load_fan_out
from modit.inference.texts import TextQuery
from modit.release.bundle.judged_once import exported_digests
from modit.release.gate.champion import Champion, load_champion_judged_once
from modit.release.kinds import OF_INTENTS
from modit.towers.training import titles_of

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads `catalog`, `text_space`, both policies, `set_diffusion`, `exported_fan_out` and `fan_out_champion`.

    The row that is compared with all others is the diffusion with the intent's own list, as the exported files answer.
    Writes `fan_out_evaluation`: evaluation.json, per_case.npz and report.html. Settings of BM25, guidance, the weights
    of MMR and DPP, and the intent's share of a mixed pool are chosen on validation intents; those of the exported row,
    whose words and weight the one list has, too, were at the export.
    """
    catalog, judged = Catalog.load(context.input("catalog")), JudgedQueries.load(context.input("catalog"))
    params, sampler = context.params.evaluate_fan_out, context.params.train_set_diffusion
    rewards, reading = context.params.align_fan_out.reward, context.params.train_fan_out
    space, words = TextSpace.load(context.input("text_space")), reading.prompt_words
    policy, untrained = (load_policy(context.input(name)) for name in ("aligned_fan_out_policy", "fan_out_policy"))
    diffusion, exported = context.input("set_diffusion"), context.input("exported_fan_out")
    queries = policy.config.queries
    reward = SetReward(rewards, torch.from_numpy(space.items), queries)

    def answering(generator: SetGenerator, intent: float = 0.0, runs: int = params.runs) -> FanOutRetriever:
        return FanOutRetriever(generator, space, queries, runs, intent)

    served = load_fan_out(exported, catalog.item_ids, runs=params.runs)
    by_space = answering(OneQuery(space), runs=1)
    one_list = replace(by_space, words=served.words, weight=served.weight)

    written = PolicySets(policy, space, words, params.temperature)
    before = PolicySets(untrained, space, words, params.temperature)
    best = PolicySets(untrained, space, words, params.temperature, params.best_of, reward)
    models = [
        Row(NO_FAN_OUT, "classical", one_list),
        Row(SPACE, "classical", by_space),
        Row(UNTRAINED, "model", answering(before)),
        Row(BEST_OF.format(count=params.best_of), "model", answering(best)),
        Row(POLICY, "model", answering(written)),
        Row(REGRESSION, "model", answering(RegressedSets(load_regressor(diffusion / "regression"), space, words))),
        Row(SERVED, "model", served),
    ]
    tuned = [TunedSets(WITH_INTENT.format(row=POLICY), "model", MIXED_GRID, lambda s: answering(written, s["intent"]))]
    for name, folder in ((DIFFUSION, "aligned"), (DIFFUSION_UNTRAINED, "untrained")):
        model = load_denoiser(diffusion / folder)
        tuned.append(sampled_sets(name, by_space, model, sampler, words, params.runs, mix=False))
    champion = Champion.load(context.input("fan_out_champion"))
    baseline = load_champion_judged_once(FAN_OUT, champion, context.input("fan_out_champion"))
    pool = rewards.pool(len(catalog), queries)
    records = {"queries": queries, "sampler": {"solver": sampler.solver, "steps": sampler.sampler_steps}}
    task = FanOutTask(judged, reading.relevant_min, pool, space.items, params, records)
    settings = EvaluationSettings(derived_seed(context.seed, "evaluate_fan_out"), params.resamples)
    by_words = listed_by_words(space, queries, titles_of(catalog), bm25_grid(params.stemmer))
    rows: list[TunableRow[TextQuery]] = [by_words, *reordered_rows(one_list, params.list_depth), *tuned]
    evaluation = evaluate_task(task, rows, models, settings, baseline)
    # What was judged, for the gate: the candidate by its files, the champion by its version.
    judged_files = exported_digests(OF_INTENTS, exported) | {"champion": champion.facts}
    output = context.output("fan_out_evaluation")
    save_evaluation(output, evaluation, judged_files)
    save_page(output, evaluation.content, context.run_config.catalogue.rstrip("/").rsplit("/", 1)[-1])
    return headline(evaluation.content, task.primary)
