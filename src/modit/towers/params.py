"""Section `train_towers` of `params.yaml`: the text towers with their training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from modit.core.params import Positive, Share, Weight
from modit.training.params import LoopParams


class TowersParams(LoopParams):
    """Section `train_towers`: size and training of the text towers.

    Attributes:
        batch: pairs of a query and an item in a global batch; each has the items of the others as negatives, within
            its micro-batch.
        buckets: numbers that n-grams are hashed to, of each tower.
        width: of the vector of an n-gram.
        hidden: of the hidden layer.
        dimension: d, of the unit vector that a tower returns, and most numbers of the text space; a multiple of
            `stage_consistent_index.pieces`.
        general_share: of vectors of a general language (WordLlama's, extra `text`) in the frozen text space below the
            towers, beside those of titles; 0: no space, the towers read n-grams alone.
        dropout: on what the towers read.
        loss: infonce (softmax over the items of the batch) or triplet (the paper's hinge, against the hardest of them).
        margin: delta of the triplet loss.
        temperature: of the softmax of infonce.
        alignment: lambda of SymmAligner, the weight of the loss with swapped inputs; 0 trains plain towers. The towers
            without alignment are trained beside those with it, as what they are compared with.
        relevant_min: least relevance of a label that makes a training pair, and that counts as relevant in evaluation.
        irrelevant_max: a label below this is a hard negative of its query.
        title_share: share of the pairs whose query is made of some words of the item's title.
    """

    steps: Positive = 600
    batch: Positive = 256
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    buckets: Annotated[int, Field(ge=2)] = 32_768
    width: Positive = 64
    hidden: Positive = 256
    dimension: Positive = 256
    general_share: Annotated[float, Field(ge=0, lt=1)] = 0.6
    dropout: Share = 0.3
    loss: Literal["infonce", "triplet"] = "infonce"
    margin: Annotated[float, Field(gt=0, le=2)] = 0.2
    temperature: Annotated[float, Field(gt=0)] = 0.05
    alignment: Weight = 0.3
    relevant_min: Annotated[float, Field(gt=0)] = 2.5
    irrelevant_max: Annotated[float, Field(ge=0)] = 2.0
    title_share: Share = 0.3

    @model_validator(mode="after")
    def _apart(self) -> TowersParams:
        if self.irrelevant_max > self.relevant_min:
            raise ValueError(
                f"irrelevant_max is {self.irrelevant_max}; allowed: at most relevant_min, {self.relevant_min}"
            )
        return self
