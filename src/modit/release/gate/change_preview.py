"""Shows a reviewer what would change for callers: the candidate's result lists beside those of the champion.

The queries are the first cases of each split and, where the catalogue brings logs of requests, the items that callers
asked with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from modit.data.catalog import RETRIEVAL_LABELS, Catalog
from modit.data.splits import HOLDOUTS
from modit.data.vectors import mean_of_rows
from modit.evaluate.rival import even_selection
from modit.index.item_index import ItemIndex
from modit.inference.retrieval import Query, generate_queries
from modit.inference.runtime import QuerySampler, load_sampler
from modit.metric.cases import Cases
from modit.metric.patterns import Patterns
from modit.release.documents import Json, write_document
from modit.release.gate.champion import READY, SAMPLER_FILE, Champion

CHANGE_FILE, CHANGE_TEXT = "change.json", "change.md"
TOP = 10
LOGGED = "logged requests"
_QUERIES, _EXAMPLES, _SHOWN = 200, 2, 3

# Embeddings [N, d] and seeds [n, m] to queries [n, d].
_MakeQueries = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Lists:
    """The answers of both to the same queries.

    Attributes:
        before: Rows of what answers today, int64 [n, TOP], padded with -1.
        after: Rows of the candidate, likewise.
        seeds: Rows asked with, int [n, m], padded with -1.
    """

    before: np.ndarray
    after: np.ndarray
    seeds: np.ndarray

    @property
    def kept(self) -> np.ndarray:
        """How many items of each list before are in the list after, int [n]."""
        pairs = zip(self.before, self.after, strict=True)
        return np.array([len(np.intersect1d(before[before >= 0], after[after >= 0])) for before, after in pairs])


def preview_change(folders: Mapping[str, Path], domain: str) -> Json:
    """What would change in today's index.

    Args:
        folders: Of `catalog`, `patterns`, `cases`, `index`, `sampler` and `champion`.
        domain: The domain.

    Returns:
        The content of `change.json`: `domain`, `against`, `champion` (its facts), `top`, `sources` of `change_table`,
        and `examples` of `change_examples`.
    """
    catalog, index = Catalog.load(folders["catalog"]), ItemIndex.load(folders["index"])
    champion = Champion.load(folders["champion"])
    before, against = _before(champion, folders["champion"])
    content: Json = {"domain": domain, "against": against, "champion": champion.facts, "top": TOP}
    sources = frozen_queries(folders, domain)
    if not sources:
        return content | {"sources": [], "examples": []}
    after = _queries(load_sampler(folders["sampler"] / SAMPLER_FILE, threads=1))
    seeds = _padded(list(sources.values()))
    old, new = (
        index.search(queries(catalog.embeddings, seeds), min(TOP, len(index)), exclude=seeds).rows
        for queries in (before, after)
    )
    lists, names = Lists(old, new, seeds), np.repeat(list(sources), [len(each) for each in sources.values()])
    labels = Patterns.load(folders["patterns"] / f"{domain}.npz").labels
    titles = catalog.item_ids if catalog.titles is None else catalog.titles
    examples = change_examples(lists, labels[seeds[:, 0]], lambda row: str(titles[row]) or str(catalog.item_ids[row]))
    return content | {"sources": change_table(lists, names), "examples": examples}


def frozen_queries(folders: Mapping[str, Path], domain: str) -> dict[str, np.ndarray]:
    """Source -> rows of the seeds of its queries, int32 [n, m], padded with -1; sources without a query are left out.

    Args:
        folders: Of `catalog` and `cases`.
        domain: The domain.
    """
    sources = {str(split): Cases.load(folders["cases"] / f"{split}.npz").seeds[:_QUERIES] for split in HOLDOUTS}
    anchors = logged_anchors(folders["catalog"] / RETRIEVAL_LABELS, domain)
    sources[LOGGED] = anchors[:, None].astype(np.int32)
    return {name: seeds for name, seeds in sources.items() if len(seeds)}


def logged_anchors(path: Path, domain: str) -> np.ndarray:
    """Rows of items that callers asked with, evenly spaced over all of a domain, int [n]; none without a log.

    Args:
        path: Of the accepted `retrieval_labels`.
        domain: The domain.
    """
    if not path.is_file():
        return np.empty(0, np.int64)
    logs = pq.read_table(path, columns=["domain", "anchor"])
    rows = np.unique(logs.filter(pc.equal(logs["domain"], domain))["anchor"].to_numpy())
    return rows[np.linspace(0, len(rows) - 1, min(_QUERIES, len(rows))).astype(int)]


def change_table(lists: Lists, sources: np.ndarray) -> list[Json]:
    """An entry for all queries and one for each source.

    Args:
        lists: Of n >= 1 queries.
        sources: The source of each query [n].

    Returns:
        For each: `source`, `queries`, `changed` (the share of lists with other items) and `kept` (the mean share of
        items that stay).
    """
    kept, found = lists.kept, (lists.before >= 0).sum(1)
    masks = {"all": np.ones(len(kept), bool)} | {str(name): sources == name for name in dict.fromkeys(sources)}
    return [
        {
            "source": name,
            "queries": int(mask.sum()),
            "changed": float((kept[mask] < found[mask]).mean()),
            "kept": float((kept[mask] / np.maximum(found[mask], 1)).mean()),
        }
        for name, mask in masks.items()
    ]


def change_examples(lists: Lists, patterns: np.ndarray, title: Callable[[int], str]) -> list[Json]:
    """The queries whose lists change most, one of each pattern, with the items that go and come.

    Args:
        lists: Of both.
        patterns: Of the seeds [n].
        title: Of a row.
    """
    ranked = np.argsort(lists.kept, kind="stable")
    order = ranked[np.sort(np.unique(patterns[ranked], return_index=True)[1])[:_EXAMPLES]]
    examples = []
    for row in order:
        before, after, seeds = (rows[rows >= 0] for rows in (lists.before[row], lists.after[row], lists.seeds[row]))
        examples.append(
            {
                "seeds": [title(item) for item in seeds],
                "goes": [title(item) for item in before if item not in after],
                "comes": [title(item) for item in after if item not in before],
            }
        )
    return examples


def save_change(folder: Path, content: Json) -> None:
    """Writes `change.json` and `change.md` into an existing folder.

    Args:
        folder: Of the artifact.
        content: As `preview_change` returns it.
    """
    write_document(folder / CHANGE_FILE, content)
    (folder / CHANGE_TEXT).write_text(change_text(content), encoding="utf-8")


def change_text(content: Json) -> str:
    """The same as Markdown, for a reviewer."""
    lost = content["champion"]["lost_items"]
    lines = [
        f"### What would change in {content['domain']}",
        "",
        f"The candidate's first {content['top']} items beside those of {content['against']}.",
        *([] if lost is None else [f"{100 * lost:.1f} % of the champion's items could no longer be found."]),
        "",
        "| queries | number | lists that change | items that stay |",
        "|---|---:|---:|---:|",
        *(
            f"| {each['source']} | {each['queries']} | {100 * each['changed']:.1f} % | {100 * each['kept']:.1f} % |"
            for each in content["sources"]
        ),
    ]
    for example in content["examples"]:
        words = {name: _titles(example[name]) or "nothing" for name in ("seeds", "goes", "comes")}
        lines += ["", f"- seeds: {words['seeds']}", f"- removed: {words['goes']}", f"- added: {words['comes']}"]
    return "\n".join(lines) + "\n"


def _before(champion: Champion, folder: Path) -> tuple[_MakeQueries, str]:
    """What answers today, and its name."""
    if champion.status != READY:
        return mean_of_rows, f"averaging the seeds, because there is no champion to ask: {champion.reason}"
    return _queries(load_sampler(folder / SAMPLER_FILE, threads=1)), f"the champion {champion.label}"


def _queries(sampler: QuerySampler) -> _MakeQueries:
    """Queries one by one, as the service generates them."""

    def queries(embeddings: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        taken = even_selection(seeds, sampler.info.maximum_seeds)
        asked = [Query(np.asarray(embeddings[rows[rows >= 0]]), k=1) for rows in taken]
        return np.stack([generate_queries(sampler, [each])[0] for each in asked])

    return queries


def _padded(parts: Sequence[np.ndarray]) -> np.ndarray:
    """All rows, of the width of the widest, padded with -1."""
    width = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=-1) for part in parts])


def _titles(titles: Sequence[str]) -> str:
    # A title is text of the catalogue's owner: it must not make a table, a link or a tag of this page.
    shown = ["".join(f"\\{sign}" if sign in "\\`*_[]<>|#" else sign for sign in title) for title in titles[:_SHOWN]]
    more = [f"and {len(titles) - _SHOWN} more"] if len(titles) > _SHOWN else []
    return ", ".join([*shown, *more])
