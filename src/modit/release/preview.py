"""The frozen questions of a domain, put to the candidate and to what answers today."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from modit.data.catalog import Catalog
from modit.evaluate.rival import even_selection
from modit.evaluate.slices import case_masks
from modit.evaluate.world import VALIDATION_OF
from modit.index import ItemIndex
from modit.metric.cases import Cases
from modit.metric.patterns import Patterns
from modit.metric.vectors import mean_of_rows
from modit.release.champion import NEW_ITEMS_FILE, READY, SAMPLER_FILE, Champion
from modit.release.change import TOP, Json, Lists, change_examples, change_table
from modit.release.runtime import QuerySampler, load_sampler

# Seeds [m, d] to a query [d], as the service makes it.
MakeQuery = Callable[[QuerySampler, np.ndarray], np.ndarray]
_QUESTIONS = 200


def preview_change(folders: Mapping[str, Path], domain: str, make_query: MakeQuery) -> Json:
    """What would change for the first cases of each split, in today's index.

    Args:
        folders: of `catalog`, `patterns`, `cases`, `index`, `sampler` and `champion`.
        domain: whose.
        make_query: of the service.

    Returns:
        The content of `change.json`.
    """
    catalog, index = Catalog.load(folders["catalog"]), ItemIndex.load(folders["index"])
    champion = Champion.load(folders["champion"])
    before, against = _before(champion, folders["champion"], make_query)
    candidate = load_sampler(folders["sampler"] / SAMPLER_FILE, threads=1)
    cases = {split: first for split in VALIDATION_OF if len(first := _first_cases(folders["cases"], split))}
    content: Json = {"domain": domain, "against": against, "champion": champion.facts, "top": TOP}
    if not cases:
        return content | {"slices": [], "examples": []}
    seeds = np.concatenate([each.seeds for each in cases.values()])
    lists = Lists(
        _top(index, before(catalog.embeddings, seeds), seeds),
        _top(index, _queries(candidate, make_query)(catalog.embeddings, seeds), seeds),
        seeds,
    )
    patterns = Patterns.load(folders["patterns"] / f"{domain}.npz")
    new_items = np.load(folders["champion"] / NEW_ITEMS_FILE) if champion.status == READY else None
    slices = _slices(cases, patterns, catalog.attributes[domain], new_items)
    names = catalog.item_ids if catalog.titles is None else catalog.titles
    examples = change_examples(lists, lambda row: str(names[row]) or str(catalog.item_ids[row]))
    return content | {"slices": change_table(lists, slices), "examples": examples}


def _first_cases(folder: Path, split: str) -> Cases:
    cases = Cases.load(folder / f"{split}.npz")
    return Cases(cases.seeds[:_QUESTIONS], cases.tails[:_QUESTIONS], cases.patterns[:_QUESTIONS])


_MakeQueries = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _before(champion: Champion, folder: Path, make_query: MakeQuery) -> tuple[_MakeQueries, str]:
    """What answers today, and how to name it."""
    if champion.status != READY:
        return mean_of_rows, f"average pooling of the seeds, because there is no champion to ask: {champion.reason}"
    return _queries(load_sampler(folder / SAMPLER_FILE, threads=1), make_query), f"the champion {champion.label}"


def _queries(sampler: QuerySampler, make_query: MakeQuery) -> _MakeQueries:
    def queries(embeddings: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        taken = even_selection(seeds, sampler.info.maximum_seeds)
        return np.stack([make_query(sampler, np.asarray(embeddings[rows[rows >= 0]])) for rows in taken])

    return queries


def _top(index: ItemIndex, queries: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    return index.search(queries, min(TOP, len(index)), exclude=seeds).rows


def _slices(
    cases: Mapping[str, Cases], patterns: Patterns, positive: np.ndarray, new_items: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Each split, and its slices, over all questions."""
    masks, start, total = {}, 0, sum(len(each) for each in cases.values())
    for split, each in cases.items():
        parts = {"": np.ones(len(each), bool)}
        parts |= {f", {name}": mask for name, mask in case_masks(each, patterns.labels, positive, new_items).items()}
        for name, mask in parts.items():
            masks[f"{split}{name}"] = whole = np.zeros(total, bool)
            whole[start : start + len(each)] = mask
        start += len(each)
    return masks
