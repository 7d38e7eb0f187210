"""Answers for a domain that has only verdicts, from the folder of a run that trained other domains."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
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
from modit.index.searchable import SearchableIndex
from modit.inference.retrieval import Query
from modit.inference.untrained import UntrainedDomain, mean_vote, untrained_retriever
from modit.inference.vote_file import load_vote
from modit.metric.calibration import probability
from modit.metric.evidence import KnownVerdicts

_READOUT_FILE = "readout.json"


@dataclass(frozen=True)
class UntrainedItem:
    """An item of an answer.

    Attributes:
        item_id: Its id.
        score: What the list is ordered by: the inner product with the query, and what a rerank adds.
        probability: That it has the attribute, by the verdicts that were given.
        verdict: The one that was given; None where there is none.
        title: Its title, where the catalogue has one.
    """

    item_id: str
    score: float
    probability: float
    verdict: bool | None
    title: str | None


def untrained_domain(
    store: ArtifactStore, trained: Iterable[str], domain: str, verdicts: KnownVerdicts, index: SearchableIndex
) -> UntrainedDomain:
    """Makes what answers for a domain from its verdicts and the votes of a run's trained domains.

    Args:
        store: Artifacts of the run.
        trained: Domains of its catalogue; those whose readout was chosen vote.
        domain: Name of the new domain.
        verdicts: That are known of it.
        index: Of the run.

    Raises:
        ConfigError: No domain has a readout yet.
        InsufficientDataError: There are fewer than five verdicts of a kind.
        ArtifactError: The run has no file of the vote, or an artifact is damaged.
    """
    voters = {name: found for name in sorted(trained) if (found := store.find("readout", name))}
    if not voters:
        raise ConfigError(
            f"{store.run.uri}: none of its domains has a readout yet (step choose_readout); allowed: a run with one"
        )
    readouts = (store.read("readout", name) / _READOUT_FILE for name in voters)
    moves = mean_vote(json.loads(file.read_text(encoding="utf-8")) for file in readouts)
    exported = next((name for name in voters if store.find("sampler", name)), None)
    if exported is None:
        raise ConfigError(f"{store.run.uri}: none of its domains has a sampler yet (step export_sampler)")
    vote = load_vote(store.read("sampler", exported), threads=1)
    # Density is measured over as many neighbours as that run retrieves.
    section = next(iter(voters.values())).key_parts.get("params", {}).get("retrieval", {})
    depth = RetrievalParams.model_validate(section).depth(len(index))
    return UntrainedDomain.fit(untrained_retriever(domain, verdicts, moves, vote, index, depth), verdicts)


def answer_untrained(
    run: str, verdicts: str, seeds: Sequence[str], k: int = 10, domain: str = "", rerank: bool = True
) -> list[UntrainedItem]:
    """Finds items that have an attribute and are like the seeds, where only some verdicts on the attribute are known.

    Args:
        run: Address of a run with catalogue, index, and at least one domain whose sampler was exported.
        verdicts: Address of a file that `read_verdicts` takes.
        seeds: Ids of items, at least one; they are no results.
        k: Items wanted, at least 1.
        domain: Whose verdicts they are, for a file with a column `attr_<domain>`.
        rerank: Whether the list is reranked by the probabilities of attribute and pattern.

    Returns:
        Best first.

    Raises:
        ConfigError: A seed is not in the catalogue, `k` is not positive, or no domain of the run has a sampler.
        ContractError: The file of verdicts has a fault.
        InsufficientDataError: It has fewer than five verdicts of a kind.
        ArtifactError: The run has no catalogue or index, or was made by a version without such answers.
    """
    store = ArtifactStore(Storage(run), cache_folder())
    catalog = Catalog.load(store.read("catalog"))
    rows = _rows_of(seeds, catalog, run)
    if k < 1:
        raise ConfigError(f"k is {k}; allowed: 1 or more")
    given = read_verdicts(verdicts, catalog.item_ids, domain)
    known = KnownVerdicts(catalog.embeddings, given == POSITIVE, given != NOT_SCORED)
    found = untrained_domain(store, catalog.domains, domain, known, ItemIndex.load(store.read("index")))
    retriever = found.reranker if rerank else found.retriever
    answer = retriever.retrieve([Query(np.asarray(catalog.embeddings[rows]), k, exclude=rows)])[0]
    titles, chances = catalog.titles, probability(found.log_odds[answer.rows])
    return [
        UntrainedItem(
            str(catalog.item_ids[row]),
            float(score),
            float(chance),
            bool(given[row]) if given[row] != NOT_SCORED else None,
            None if titles is None else str(titles[row]),
        )
        for row, score, chance in zip(answer.rows, answer.scores, chances, strict=True)
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
