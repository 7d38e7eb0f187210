"""The evaluation of a domain in both scopes: discovery, which decides, and the whole catalogue beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from modit.data.splits import ResultScope
from modit.evaluate.evaluation import EvaluationSettings, evaluate_task
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

    Classical and reranked rows are chosen anew for the whole catalogue, where the verdicts of results may be known to
    them; models answer with the same queries.

    Args:
        task: In the discovery scope.
        models: The four stages, and variants.
        settings: Seed and size of the bootstrap.
        champion: The model that answers today.

    Returns:
        The evaluation in the discovery scope, with `whole_catalogue` beside it: rows and comparisons only.
    """
    reranking = Reranking(task.context, settings.seed)
    whole = SeedsTask(replace(task.context, scope=ResultScope.WHOLE_CATALOGUE), task.noise_seed)
    found, beside = (
        evaluate_task(each, closed_form_rows(each.context), models, details, champion, reranking.rows)
        for each, details in ((task, settings), (whole, replace(settings, details=False)))
    )
    part = {name: beside.content[name] for name in ("scope", "k", "validation_k", "splits")}
    return Evaluation(found.content | {WHOLE_CATALOGUE: part}, found.per_case)
