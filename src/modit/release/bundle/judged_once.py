"""What differs between the kinds that are judged once for a catalogue: how each is loaded, asked and described.

Steps, bundle, trial, champion and service take a kind's entry of `HOW`, and are the same code for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modit.core.errors import ArtifactError
from modit.core.storage import sha256_of_file
from modit.data.catalog import Catalog
from modit.data.judged_queries import JudgedQueries, QueryPart
from modit.data.ngrams import WORDS_MAX
from modit.data.sessions import SessionPart, Sessions
from modit.inference.fan_out import load_fan_out
from modit.inference.items import ItemTable, load_item_table
from modit.inference.next_item import NextItemRetriever, load_next_item
from modit.inference.search import load_search
from modit.inference.sessions import SessionQuery
from modit.inference.texts import TextQuery
from modit.release.bundle.canaries import ListCanary, SessionCanary, TextCanary, ask_session, ask_text
from modit.release.documents import Json
from modit.release.kinds import SEMANTIC_IDS, SET_DIFFUSION, TOWERS, ReleaseKind

_CANARIES = 8
# Of no language that a catalogue of English titles has: only the towers answer.
_UNKNOWN_WORD = "дрель"


@dataclass(frozen=True)
class Asking:
    """How a kind is loaded, asked and described.

    Attributes:
        open: The retriever with one thread, since requests share the cores, from the folder of the exported artifact
            and the ids of its catalogue's items. It raises ArtifactError where a file is missing, damaged, or of other
            items.
        ask: Asks as the service does, with ids of a session or with a list of one text, for k items.
        canary: What `ask` makes.
        given: What canaries ask, from the folder of `catalog`.
        costly: Makes the most costly requests for k items, one for each number; and says in words what they are.
        card: Sentences of the model card: what it does, what its figures are, and its limits; from its own document.
    """

    open: Callable[[Path, np.ndarray], Any]
    ask: Callable[[Any, ItemTable, Sequence[str], int], ListCanary]
    canary: type[Any]
    given: Callable[[Path], list[list[str]]]
    costly: Callable[[Any, ItemTable, int], tuple[Callable[[int], Any], str]]
    card: Callable[[Json], tuple[str, str, Sequence[str]]]

    def load(self, folder: Path, catalog: Path) -> tuple[Any, ItemTable]:
        """The retriever and its items, from the folders of the exported artifact and of `catalog`."""
        items = load_item_table(catalog)
        return self.open(folder, items.item_ids), items


def exported_digests(kind: ReleaseKind, folder: Path) -> dict[str, str]:
    """`retriever_digest` and `index_digest` of an exported retriever, which it is registered with."""
    return {
        kind.model_tag: sha256_of_file(folder / kind.model[1]),
        "index_digest": sha256_of_file(folder / kind.searched),
    }


def expect_digests(kind: ReleaseKind, folder: Path, digests: Mapping[str, str]) -> None:
    """Refuses an exported retriever that has other digests.

    Raises:
        ArtifactError: A file is missing or another one.
    """
    for name, file in ((kind.model_tag, kind.model[1]), ("index_digest", kind.searched)):
        found = sha256_of_file(folder / file) if (folder / file).is_file() else "missing"
        if found != digests[name]:
            raise ArtifactError(f"{folder / file}: {found}; {name} is {digests[name]}")


def _open_sessions(folder: Path, item_ids: np.ndarray) -> NextItemRetriever:
    retriever = load_next_item(folder, threads=1)
    retriever.check_items(item_ids)
    return retriever


def _sessions(catalog: Path) -> list[list[str]]:
    """The histories of the first test cases, and an empty one."""
    found = Catalog.load(catalog)
    histories = Sessions(found.sequences).histories(SessionPart.TEST)
    return [[], *(found.item_ids[histories[case]].tolist() for case in range(min(_CANARIES, len(histories))))]


def _texts(catalog: Path) -> list[list[str]]:
    """The first test queries, and a text of another language."""
    judged = JudgedQueries.load(catalog)
    return [[text] for text in (_UNKNOWN_WORD, *judged.texts[judged.of(QueryPart.TEST)[:_CANARIES]].tolist())]


def _long_sessions(retriever: NextItemRetriever, items: ItemTable, k: int) -> tuple[Callable[[int], Any], str]:
    length, count = min(retriever.session_items, len(items)), len(items)

    def request(number: int) -> SessionQuery:
        rows = (number * length + np.arange(length, dtype=np.int64)) % count
        return SessionQuery(rows, min(k, count), rows[-1:])

    return request, f"a session of {length} items"


def _long_texts(retriever: Any, items: ItemTable, k: int) -> tuple[Callable[[int], Any], str]:
    count = len(items)

    def request(number: int) -> TextQuery:
        rows = (number * WORDS_MAX + np.arange(WORDS_MAX)) % count
        return TextQuery(" ".join(title or "" for title in items.titles_of(rows)), min(k, count))

    return request, f"a text of {WORDS_MAX} words"


def _session_card(facts: Json) -> tuple[str, str, Sequence[str]]:
    return (
        "A retriever of the next item. From a session, items by id with the oldest first, it generates semantic IDs "
        f"within the trie of all items' IDs and ranks the items that have them. {facts['beams']} IDs are decoded for a "
        "session.",
        "Share of test cases whose target is among the first 10 items (Recall@10), over all items. Targets are the "
        "last items of sessions. Intervals are 95 % intervals of a bootstrap over users.",
        (
            "Items that occur in no training session are seldom found; the slice *cold* of the report says how seldom.",
            "The figures are of the sessions of this catalogue; they say nothing about another catalogue.",
            "What people did in the past was shaped by what they were shown; the figures do not correct for that.",
            "Fairness to groups of people or of makers of items was not measured.",
        ),
    )


def _text_card(facts: Json) -> tuple[str, str, Sequence[str]]:
    return (
        "A retriever by text. Items are scored by BM25 of their titles' words (k1 "
        f"{facts['bm25']['k1']:g}, b {facts['bm25']['b']:g}, stemmer {facts['bm25']['stemmer']}), where words spelt "
        "alike count, too, and by two text towers of hashed n-grams and known words with SymmAligner, whose nearest "
        f"items a consistent index finds. It has at least {facts['depth']} candidates of either kind; the cosine has "
        f"weight {facts['weight']:g}.",
        "NDCG@10 of the items that raters judged for a test query, and the share of its relevant items among the first "
        "100 of all items (Recall@100). Intervals are 95 % intervals of a bootstrap over queries, of NDCG@10.",
        (
            "Titles are all that it reads of an item. A text of another language finds items by chance.",
            "An item that nobody judged counts as not relevant, so Recall@100 is a lower bound.",
            f"Only the first {facts['words_max']} words of a text are read.",
            "The figures are of the queries of this catalogue; they say nothing about another catalogue.",
        ),
    )


def _intent_card(facts: Json) -> tuple[str, str, Sequence[str]]:
    return (
        f'A retriever of sets. A diffusion samples {facts["rows"]} queries for an intent, such as "snacks for a road '
        "trip\", in a text space of the items' titles. Their lists take turns with the intent's own list, which fills "
        f"{100 * facts['intent']:.0f} % of an answer; items that lists share count once. Every list adds "
        f"BM25 of the intent's words, beside which the cosine has weight {facts['weight']:g}. The scale of guidance is "
        f"{facts['guidance']:g}, the sampler takes {len(facts['levels']) - 1} steps.",
        "Share of an intent's items that are in a pool of fixed size (coverage), and how different the items are that "
        "the queries find first (scaled Vendi score, diversity). Intervals are 95 % intervals of a bootstrap over "
        "intents of different texts, of coverage.",
        (
            "Titles are all that it reads of an item. A text without a word of the titles gets what is typical of the "
            "catalogue.",
            "Only known items of an intent count, so coverage is a lower bound of what suits it.",
            "The figures are of the intents of this catalogue; they say nothing about another catalogue.",
        ),
    )


HOW: Mapping[str, Asking] = {
    SEMANTIC_IDS: Asking(
        open=_open_sessions,
        ask=ask_session,
        canary=SessionCanary,
        given=_sessions,
        costly=_long_sessions,
        card=_session_card,
    ),
    TOWERS: Asking(
        open=load_search,
        ask=lambda retriever, items, given, k: ask_text(retriever, items, given[0], k),
        canary=TextCanary,
        given=_texts,
        costly=_long_texts,
        card=_text_card,
    ),
    SET_DIFFUSION: Asking(
        open=load_fan_out,
        ask=lambda retriever, items, given, k: ask_text(retriever, items, given[0], k),
        canary=TextCanary,
        given=_texts,
        costly=_long_texts,
        card=_intent_card,
    ),
}
