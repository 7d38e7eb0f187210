"""The evaluation of a domain in both scopes: discovery, which decides, and the whole catalogue beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from modit.data.splits import ResultScope
from modit.evaluate.evaluation import EvaluationSettings, choose_rows, judge_rows
from modit.evaluate.seeds.rows import Reranking, closed_form_rows
from modit.evaluate.seeds.task import SeedsTask
from modit.evaluate.storage import Evaluation
from modit.evaluate.task import BaselineModel, Row
from modit.inference.retrieval import Query

WHOLE_CATALOGUE = "whole_catalogue"


def evaluate_domain(
    task: SeedsTask,
    models: Sequence[Row[Query]],
    settings: EvaluationSettings,
    champion: BaselineModel[Query] | None = None,
) -> Evaluation:
    """Judges all rows of a domain.

    All settings are chosen in the discovery scope. In the whole catalogue the same rows answer, and classical ones may
    find items whose verdict they know.

    Args:
        task: In the discovery scope.
        models: The four stages, and variants.
        settings: Seed and size of the bootstrap.
        champion: The model that answers today.

    Returns:
        The evaluation in the discovery scope, with `whole_catalogue` beside it: rows and comparisons only.
    """
    derive = Reranking(task.context, settings.seed).rows
    rows = choose_rows(task, closed_form_rows(task.context), models, champion, derive)
    found = judge_rows(task, rows, settings, champion)
    whole = SeedsTask(replace(task.context, scope=ResultScope.WHOLE_CATALOGUE), task.noise_seed)
    beside = judge_rows(whole, rows, replace(settings, details=False), champion)
    part = {name: beside.content[name] for name in ("scope", "k", "validation_k", "splits")}
    return Evaluation(found.content | {WHOLE_CATALOGUE: part}, found.per_case)
