"""Answers for a domain that has only verdicts, from the folder of a run that trained other domains."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modit.core.artifacts import ArtifactStore
from modit.core.errors import ConfigError
from modit.core.storage import Storage
from modit.core.workspace import cache_folder
from modit.data.catalog import NOT_SCORED, POSITIVE, Catalog
from modit.data.verdict_file import read_verdicts
from modit.index.item_index import ItemIndex
from modit.index.params import RetrievalParams
from modit.inference.retrieval import Query
from modit.inference.untrained import UntrainedDomain, mean_vote
from modit.metric.evidence import KnownVerdicts


@dataclass(frozen=True)
class UntrainedItem:
    """An item of an answer.

    Attributes:
        item_id: Its id.
        score: Its inner product with the query.
        probability: That it has the attribute, by the verdicts that were given.
        verdict: The one that was given; None where there is none.
        title: Its title, where the catalogue has one.
    """

    item_id: str
    score: float
    probability: float
    verdict: bool | None
    title: str | None


def answer_untrained(
    run: str, verdicts: str, seeds: Sequence[str], k: int = 10, domain: str = ""
) -> list[UntrainedItem]:
    """Finds items that have an attribute and are like the seeds, where only some verdicts on the attribute are known.

    Args:
        run: Address of a run with catalogue, index, and at least one domain whose readout was chosen.
        verdicts: Address of a file that `read_verdicts` takes.
        seeds: Ids of items, at least one; they are no results.
        k: Items wanted, at least 1.
        domain: Whose verdicts they are, for a file with a column `attr_<domain>`.

    Returns:
        Best first.

    Raises:
        ConfigError: A seed is not in the catalogue, `k` is not positive, or no domain of the run has a readout.
        ContractError: The file of verdicts has a fault.
        InsufficientDataError: It has fewer than five verdicts of a kind.
        ArtifactError: The run has no catalogue or index.
    """
    store = ArtifactStore(Storage(run), cache_folder())
    catalog = Catalog.load(store.read("catalog"))
    rows = _rows_of(seeds, catalog, run)
    if k < 1:
        raise ConfigError(f"k is {k}; allowed: 1 or more")
    trained = [store.read("readout", name) for name in catalog.domains if store.find("readout", name)]
    if not trained:
        raise ConfigError(
            f"{run}: none of its domains has a readout yet (step choose_readout); allowed: a run with one"
        )
    votes = [json.loads((folder / "readout.json").read_text(encoding="utf-8")) for folder in trained]
    given = read_verdicts(verdicts, catalog.item_ids, domain)
    known = KnownVerdicts(catalog.embeddings, given == POSITIVE, given != NOT_SCORED)
    index, depth = ItemIndex.load(store.read("index")), RetrievalParams().depth(len(catalog))
    found = UntrainedDomain.fit(known, mean_vote(votes), index, depth)
    answer = found.vote.retrieve([Query(np.asarray(catalog.embeddings[rows]), k, exclude=rows)])[0]
    titles = catalog.titles
    return [
        UntrainedItem(
            str(catalog.item_ids[row]),
            float(score),
            float(probability),
            bool(given[row]) if given[row] != NOT_SCORED else None,
            None if titles is None else str(titles[row]),
        )
        for row, score, probability in zip(answer.rows, answer.scores, found.probability(answer.rows), strict=True)
    ]


def answer_text(items: Sequence[UntrainedItem]) -> str:
    """Words an answer for people, one line for each item: rank, probability, id, given verdict, title."""
    width = max((len(item.item_id) for item in items), default=0)
    shown = {None: "-", True: "1", False: "0"}
    return "\n".join(
        f"{rank:4}  {item.probability:.2f}  {shown[item.verdict]}  {item.item_id:{width}}  {item.title or ''}".rstrip()
        for rank, item in enumerate(items, 1)
    )


def _rows_of(seeds: Sequence[str], catalog: Catalog, run: str) -> np.ndarray:
    places = {item: row for row, item in enumerate(catalog.item_ids.tolist())}
    unknown = [seed for seed in seeds if seed not in places]
    if unknown or not seeds:
        raise ConfigError(
            f"seeds: {unknown[0]!r} is not in the catalogue of {run}" if unknown else "seeds: none is given"
        )
    return np.array([places[seed] for seed in seeds], np.int64)
