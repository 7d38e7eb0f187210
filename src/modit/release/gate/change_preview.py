"""Shows a reviewer what would change for callers: the candidate's result lists beside those of the champion."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from modit.data.catalog import RETRIEVAL_LABELS, Catalog
from modit.data.splits import HOLDOUTS
from modit.data.vectors import mean_of_rows
from modit.evaluate.rival import even_selection
from modit.evaluate.slices import NEW, case_masks
from modit.index.item_index import ItemIndex
from modit.inference.runtime import QuerySampler, load_sampler
from modit.metric.cases import Cases
from modit.metric.patterns import Patterns
from modit.release.gate.champion import NEW_ITEMS_FILE, READY, SAMPLER_FILE, Champion

Json = dict[str, Any]

CHANGE_FILE, CHANGE_TEXT = "change.json", "change.md"
TOP = 10
_EXAMPLES, _SHOWN_SEEDS = 3, 4


@dataclass(frozen=True, eq=False)
class Lists:
    """What both answered to the same questions.

    Attributes:
        before: rows of what answers today, int64 [n, TOP], padded with -1.
        after: rows of the candidate, likewise.
        seeds: rows asked with, int [n, m], padded with -1.
    """

    before: np.ndarray
    after: np.ndarray
    seeds: np.ndarray

    @property
    def kept(self) -> np.ndarray:
        """How many items of each list before are in the list after, int [n]."""
        return np.array(
            [len(np.intersect1d(a[a >= 0], b[b >= 0])) for a, b in zip(self.before, self.after, strict=True)]
        )


def change_table(lists: Lists, slices: Mapping[str, np.ndarray]) -> list[Json]:
    """A line for all questions and one for each slice.

    Args:
        lists: of n >= 1 questions.
        slices: name -> bool [n].

    Returns:
        For each: `slice`, `queries`; and, where there are any, `changed`, the share of them whose top items are others,
        and `kept`, the mean share of items that stay; both in [0, 1].
    """
    kept, found = lists.kept, (lists.before >= 0).sum(1)
    table = []
    for name, mask in ({"all": np.ones(len(kept), bool)} | dict(slices)).items():
        line: Json = {"slice": name, "queries": int(mask.sum())}
        if mask.any():
            line["changed"] = float((kept[mask] < found[mask]).mean())
            line["kept"] = float((kept[mask] / np.maximum(found[mask], 1)).mean())
        table.append(line)
    return table


def change_examples(lists: Lists, patterns: np.ndarray, title: Callable[[int], str]) -> list[Json]:
    """The questions whose lists change most, one of a pattern, with the items that go and come; the first of equals.

    Args:
        lists: of both.
        patterns: of the seeds [n].
        title: of a row.
    """
    ranked = np.argsort(lists.kept, kind="stable")
    order = ranked[np.sort(np.unique(patterns[ranked], return_index=True)[1])[:_EXAMPLES]]
    return [_example(lists.before[row], lists.after[row], lists.seeds[row], title) for row in order]


def _example(before: np.ndarray, after: np.ndarray, seeds: np.ndarray, title: Callable[[int], str]) -> Json:
    before, after, seeds = (rows[rows >= 0] for rows in (before, after, seeds))
    return {
        "seeds": [title(row) for row in seeds[:_SHOWN_SEEDS]],
        "seed_count": len(seeds),
        "goes": [title(row) for row in before if row not in after],
        "comes": [title(row) for row in after if row not in before],
    }


def save_change(folder: Path, content: Json) -> None:
    """Writes `change.json` and `change.md` into an existing folder.

    Args:
        folder: of the artifact.
        content: `domain`, `against`, `champion` (its facts), `top`, `slices` of `change_table`, `examples` of
            `change_examples`.
    """
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    (folder / CHANGE_FILE).write_text(text, encoding="utf-8")
    (folder / CHANGE_TEXT).write_text(change_text(content), encoding="utf-8")


def change_text(content: Json) -> str:
    """The same as Markdown, for a reviewer."""
    lines = [
        f"### What would change in {content['domain']}",
        "",
        f"Top {content['top']} of the candidate beside {content['against']}.",
        *_lost(content["champion"]),
        "",
        "| queries | how many | lists that change | items that stay |",
        "|---|---:|---:|---:|",
        *(_line(entry) for entry in content["slices"]),
    ]
    for example in content["examples"]:
        lines += ["", f"Seeds: {_titles(example['seeds'])} ({example['seed_count']} in all)", ""]
        lines += [
            f"- goes: {_titles(example['goes']) or 'nothing'}",
            f"- comes: {_titles(example['comes']) or 'nothing'}",
        ]
    return "\n".join(lines) + "\n"


def _lost(champion: Json) -> list[str]:
    share = champion["lost_items"]
    return [] if share is None else [f"Of the champion's items {100 * share:.1f} % would not be found any more."]


def _line(entry: Json) -> str:
    figures = [f"{100 * entry[name]:.1f} %" if name in entry else "-" for name in ("changed", "kept")]
    return f"| {entry['slice']} | {entry['queries']} | {figures[0]} | {figures[1]} |"


def _titles(titles: Sequence[str]) -> str:
    # A title is text of the catalogue's owner: it must not make a table, a link or a tag of this page.
    return ", ".join("".join(f"\\{sign}" if sign in "\\`*_[]<>|#" else sign for sign in title) for title in titles)


# Seeds [m, d] to a query [d], as the service makes it.
MakeQuery = Callable[[QuerySampler, np.ndarray], np.ndarray]
# Embeddings [N, d] and seeds [n, m] to queries [n, d].
_MakeQueries = Callable[[np.ndarray, np.ndarray], np.ndarray]
LOGGED = "logged requests"
_QUESTIONS = 200


@dataclass(frozen=True, eq=False)
class Questions:
    """Questions of one source.

    Attributes:
        name: of the source.
        seeds: rows asked with, int32 [n, m], padded with -1.
        patterns: of the seeds [n].
        slices: name -> bool [n].
    """

    name: str
    seeds: np.ndarray
    patterns: np.ndarray
    slices: Mapping[str, np.ndarray]


def preview_change(folders: Mapping[str, Path], domain: str, make_query: MakeQuery) -> Json:
    """What would change for the first cases of each split and for logged requests, in today's index.

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
    content: Json = {"domain": domain, "against": against, "champion": champion.facts, "top": TOP}
    sources = frozen_questions(folders, catalog, domain, champion)
    if not sources:
        return content | {"slices": [], "examples": []}
    after = _queries(load_sampler(folders["sampler"] / SAMPLER_FILE, threads=1), make_query)
    seeds = _padded([source.seeds for source in sources])
    old, new = (_top(index, queries(catalog.embeddings, seeds), seeds) for queries in (before, after))
    lists, patterns = Lists(old, new, seeds), np.concatenate([source.patterns for source in sources])
    names = catalog.item_ids if catalog.titles is None else catalog.titles
    examples = change_examples(lists, patterns, lambda row: str(names[row]) or str(catalog.item_ids[row]))
    return content | {"slices": change_table(lists, _over_all(sources)), "examples": examples}


def frozen_questions(folders: Mapping[str, Path], catalog: Catalog, domain: str, champion: Champion) -> list[Questions]:
    """The first cases of each split, and anchors of logged requests where the catalogue brings such logs.

    Args:
        folders: of `catalog`, `patterns`, `cases` and `champion`.
        catalog: of the run.
        domain: whose.
        champion: one that is ready tells new items.
    """
    labels = Patterns.load(folders["patterns"] / f"{domain}.npz").labels
    new_items = np.load(folders["champion"] / NEW_ITEMS_FILE) if champion.status == READY else None
    sources = []
    for split in HOLDOUTS:
        every = Cases.load(folders["cases"] / f"{split}.npz")
        cases = Cases(every.seeds[:_QUESTIONS], every.tails[:_QUESTIONS], every.patterns[:_QUESTIONS])
        if len(cases):
            masks = case_masks(cases, labels, catalog.positive(domain), new_items)
            sources.append(Questions(split, cases.seeds, cases.patterns, masks))
    anchors = logged_anchors(folders["catalog"] / RETRIEVAL_LABELS, catalog, domain)
    if len(anchors):
        slices = {} if new_items is None else {NEW: new_items[anchors]}
        sources.append(Questions(LOGGED, anchors[:, None].astype(np.int32), labels[anchors], slices))
    return sources


def logged_anchors(path: Path, catalog: Catalog, domain: str) -> np.ndarray:
    """Rows of items that callers asked with, evenly spaced over all of a domain, int [n]; none without a log.

    Args:
        path: of the accepted `retrieval_labels`.
        catalog: has all ids of the log.
        domain: whose.
    """
    if not path.is_file():
        return np.empty(0, np.int64)
    logs = pq.read_table(path, columns=["domain", "anchor_item_id"])
    asked = logs.filter(pc.equal(logs["domain"], domain))["anchor_item_id"].unique().to_pylist()
    rows = np.flatnonzero(np.isin(catalog.item_ids, np.array(asked, dtype=str)))
    return rows[np.linspace(0, len(rows) - 1, min(_QUESTIONS, len(rows))).astype(int)]


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


def _padded(parts: list[np.ndarray]) -> np.ndarray:
    """All rows, of the width of the widest, padded with -1."""
    width = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=-1) for part in parts])


def _over_all(sources: list[Questions]) -> dict[str, np.ndarray]:
    """Each source and its slices, over all questions."""
    masks, start, total = {}, 0, sum(len(source.seeds) for source in sources)
    for source in sources:
        count = len(source.seeds)
        parts = {source.name: np.ones(count, bool)}
        parts |= {f"{source.name}, {name}": mask for name, mask in source.slices.items()}
        for name, mask in parts.items():
            masks[name] = np.zeros(total, bool)
            masks[name][start : start + count] = mask
        start += count
    return masks
