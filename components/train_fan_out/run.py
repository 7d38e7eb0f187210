"""Fits the text space and trains the policy on template queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modit.core.seeds import derived_seed
from modit.data.catalog import Catalog
from modit.data.judged_queries import JudgedQueries, QueryPart
from modit.data.text_space import fit_space, frequent_words
from modit.fan_out.intents import IntentSets
from modit.fan_out.policy import FanOutPolicy, PolicyConfig
from modit.fan_out.templates import TemplateSets
from modit.towers.training import titles_of
from modit.training.session import run_stage

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads `catalog`; writes `text_space`, and `fan_out_policy`: model.pt and curve.json.

    Returns:
        Training `intents`, `words` that the policy can write, and its `parameters`.

    Raises:
        MissingExtraError: the package of general words is not installed.
        InsufficientDataError: the catalogue has no queries or no titles, or no training query has an item.
    """
    catalog, params = Catalog.load(context.input("catalog")), context.params.train_fan_out
    judged, titles = JudgedQueries.load(context.input("catalog")), titles_of(catalog)
    seed = derived_seed(context.seed, "train_fan_out")
    asked = judged.texts[judged.of(QueryPart.TRAIN)].tolist()
    space = fit_space(titles, asked, params.dimension, params.general_share)
    space.save(context.output("text_space"))
    intents = IntentSets.of(judged, QueryPart.TRAIN, space, params.relevant_min, params.prompt_words)
    words = frequent_words([*titles, *intents.texts], params.word_count_min)
    size = params.model_dump(include={"queries", "words", "width", "depth", "heads", "dropout"})
    policy = FanOutPolicy.over(space, words, PolicyConfig(0, space.dimension, **size), seed)
    stage = TemplateSets("train_fan_out", intents, titles, space, policy, params.near_items)
    run_stage(policy, stage, params, seed, context.output("fan_out_policy"), context.scratch, context.logger)
    parameters = sum(each.numel() for each in policy.parameters())
    return {"intents": len(intents), "words": policy.config.vocabulary, "parameters": parameters}
