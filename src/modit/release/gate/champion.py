"""The champion of a domain, as a run needs it to judge its candidate.

`fetch_champion` copies it from the registry and its run. Where no version was promoted yet, the status is `none`. A
champion that exists but cannot be judged has its own status, and the gate does not treat it as `none`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from pydantic import with_config

from modit.core.artifacts import MANIFEST, ArtifactStore
from modit.core.errors import ArtifactError
from modit.core.storage import Storage, sha256_of_file
from modit.data.catalog import Catalog
from modit.evaluate.task import BaselineModel
from modit.index.searchable import SearchableIndex
from modit.inference.items import load_item_table
from modit.inference.retrieval import Query, Retriever, SamplerRetriever, SearchResult
from modit.inference.runtime import load_sampler
from modit.inference.sampler_file import SAMPLER_FILE
from modit.inference.sessions import SessionQuery
from modit.inference.texts import TextQuery
from modit.metric.evidence import KnownVerdicts
from modit.metric.known_patterns import KnownPatterns
from modit.release.bundle.embedding_space import difference_of_catalogues
from modit.release.bundle.judged_once import HOW
from modit.release.bundle.loading import load_domain_sampler
from modit.release.bundle.release import ReleaseSource
from modit.release.documents import STRICT, Json, read_document, write_document
from modit.release.kinds import kind_of
from modit.release.model_registry.mlflow_registry import MlflowRegistry
from modit.release.model_registry.model_version import CHAMPION, LOG_TAG, NamedVersion
from modit.release.model_registry.registry_access import has_models
from modit.release.model_registry.release_state import resolve_version

CHAMPION_FILE, NEW_ITEMS_FILE = "champion.json", "new_items.npy"
# Of a kind that is judged once for a catalogue.
RETRIEVER_FOLDER, ITEM_IDS_FILE, ROWS_FILE = "retriever", "item_ids.npy", "rows.npy"
# Fields of requests that name rows.
_ROW_FIELDS = ("history", "exclude", "judged")
NONE, READY, OTHER_SPACE, UNREADABLE = "none", "ready", "other_space", "unreadable"
_FACTS = ("status", "reason", "model", "version", "model_digest", "lost_items")
_ITEMS, _EMBEDDINGS = "items.parquet", "embeddings.npy"


@with_config(STRICT)
@dataclass(frozen=True)
class Champion:
    """What answers for a domain today, as the gate needs it.

    Attributes:
        status: "none": nothing was promoted yet; "ready": it can be judged; "other_space": it works on other
            embeddings; "unreadable": its files are missing, damaged or not what was registered.
        reason: Why it is not ready, or None.
        model: Registered name; this, `version`, `run` (an address) and the digests (of the model's file, and of what
            it searches) are as registered, or None.
        lost_items: Share in [0, 1] of the items of its catalogue that today's catalogue lacks; callers would no longer
            find them. None where it cannot be judged.
    """

    status: str
    reason: str | None = None
    model: str | None = None
    version: int | None = None
    run: str | None = None
    model_digest: str | None = None
    index_digest: str | None = None
    lost_items: float | None = None

    @property
    def label(self) -> str:
        """Name for people."""
        return f"{self.model}/{self.version}"

    @property
    def facts(self) -> Json:
        """The part that reports and verdicts show, without addresses."""
        return {name: getattr(self, name) for name in _FACTS}

    def save(self, folder: Path) -> None:
        """Writes `champion.json` into an existing folder."""
        write_document(folder / CHAMPION_FILE, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> Champion:
        """Reads what `save` wrote, strictly."""
        return read_document(folder / CHAMPION_FILE, cls)


def named_champion(registry: str, domain: str) -> NamedVersion | None:
    """The champion of a domain by the registry at an address; None where nothing was promoted, or there is none yet.

    Raises:
        Refused: The release log and the alias name different versions, as after the alias was moved by hand.
    """
    if not has_models(registry):
        return None
    models = MlflowRegistry(registry)
    return resolve_version(models, domain, CHAMPION) if LOG_TAG in models.model_tags(domain) else None


def fetch_champion(named: NamedVersion | None, domain: str, catalog: Catalog, folder: Path) -> Champion:
    """Writes `champion.json` and, of a champion that can be judged, its files and `new_items.npy`.

    The files are `sampler.onnx`, or of a kind that is judged once the folder `retriever`, `item_ids.npy` of its
    catalogue, and `rows.npy`: the row of each of its items in today's catalogue, int64, -1 for one that is gone.
    `new_items.npy` has for each item of today's catalogue whether the champion's catalogue lacked it.
    """
    if named is None:
        found = Champion(NONE, f"no version of modit-{domain} has the alias {CHAMPION}")
    else:
        try:
            fetch = _fetch_judged_once if kind_of(domain).name else _fetch_sampler
            found = fetch(ReleaseSource.of(named), catalog, folder)
        except ArtifactError as error:
            run_uri, model, index = (
                named.tags.get(name) for name in ("run_uri", kind_of(domain).model_tag, "index_digest")
            )
            found = Champion(UNREADABLE, str(error), named.model, named.version, run_uri, model, index)
    found.save(folder)
    return found


def _fetch_sampler(source: ReleaseSource, catalog: Catalog, folder: Path) -> Champion:
    with tempfile.TemporaryDirectory(prefix="modit-") as cache:
        store = ArtifactStore(Storage(source.run_uri), Path(cache))
        file = _model_file(store, source)
        info = load_domain_sampler(file.parent, source.domain).info
        items = store.read("catalog", files=(_ITEMS, _EMBEDDINGS))
        ids = load_item_table(items).item_ids
        then = np.load(items / _EMBEDDINGS, mmap_mode="r")
        reason = _other_dimension(catalog, info.dimension) or difference_of_catalogues(
            catalog.item_ids, catalog.embeddings, ids, then
        )
        if reason:
            return Champion(OTHER_SPACE, reason, *_facts(source))
        shutil.copyfile(file, folder / SAMPLER_FILE)
    return _ready(source, catalog, ids, folder)


def _fetch_judged_once(source: ReleaseSource, catalog: Catalog, folder: Path) -> Champion:
    """Its catalogue may have any embeddings: callers send ids or texts, and no vectors."""
    with tempfile.TemporaryDirectory(prefix="modit-") as cache:
        store = ArtifactStore(Storage(source.run_uri), Path(cache))
        exported, items = _model_file(store, source).parent, store.read("catalog", files=(_ITEMS,))
        ids = HOW[source.kind.retriever].load(exported, items)[1].item_ids
        shutil.copytree(exported, folder / RETRIEVER_FOLDER, ignore=shutil.ignore_patterns(MANIFEST))
    places = {name: row for row, name in enumerate(catalog.item_ids.tolist())}
    np.save(folder / ITEM_IDS_FILE, ids)
    np.save(folder / ROWS_FILE, np.array([places.get(name, -1) for name in ids.tolist()], np.int64))
    return _ready(source, catalog, ids, folder)


def _model_file(store: ArtifactStore, source: ReleaseSource) -> Path:
    """The file of the model that was registered, in the folder of its artifact."""
    part, name = source.kind.model
    file = store.read(source.kind.parts[part].artifact, source.kind.folder_of(source.domain)) / name
    if (digest := sha256_of_file(file)) != source.model_digest:
        raise ArtifactError(f"{source.run_uri}: sha256 of {name} is {digest}; the registry has {source.model_digest}")
    return file


def _ready(source: ReleaseSource, catalog: Catalog, ids: np.ndarray, folder: Path) -> Champion:
    """A champion that can be judged, whose catalogue has these items."""
    np.save(folder / NEW_ITEMS_FILE, ~np.isin(catalog.item_ids, ids))
    return Champion(READY, None, *_facts(source), lost_items=float(1 - np.isin(ids, catalog.item_ids).mean()))


def _facts(source: ReleaseSource) -> tuple[str, int, str, str, str]:
    return source.model, source.version, source.run_uri, source.model_digest, source.index_digest


def _other_dimension(catalog: Catalog, dimension: int) -> str | None:
    if dimension == catalog.dimension:
        return None
    return f"it takes embeddings of {dimension} numbers, today's have {catalog.dimension}"


def load_champion(
    champion: Champion,
    folder: Path,
    index: SearchableIndex,
    verdicts: KnownVerdicts | None = None,
    patterns: KnownPatterns | None = None,
) -> BaselineModel[Query] | None:
    """Loads the champion as a row of the evaluation; None where it cannot be judged.

    It searches today's index and reads the verdicts and the patterns that the candidate reads.
    """
    if champion.status != READY:
        return None
    retriever = SamplerRetriever(load_sampler(folder / SAMPLER_FILE), index, True, verdicts, patterns)
    return BaselineModel(retriever, np.load(folder / NEW_ITEMS_FILE))


Asked = TypeVar("Asked", SessionQuery, TextQuery)


@dataclass(frozen=True, eq=False)
class OtherCatalogue(Generic[Asked]):
    """A retriever of another catalogue, asked and answered in rows of today's.

    Items that it does not know are left out of sessions, and items that are gone are no results. Of judged items those
    that it does not know come last.

    Attributes:
        retriever: Knows rows of its own catalogue.
        here: The row in today's catalogue of each of its items, int64 [M]; -1 for one that is gone.
        there: The row in its catalogue of each of today's items, int64 [N]; -1 for one that is new.
    """

    retriever: Retriever[Asked]
    here: np.ndarray
    there: np.ndarray

    @classmethod
    def of(cls, retriever: Retriever[Asked], here: np.ndarray, items: int) -> OtherCatalogue[Asked]:
        """Of a retriever, the place of its items, and the number of today's."""
        there = np.full(items, -1, np.int64)
        there[here[here >= 0]] = np.flatnonzero(here >= 0)
        return cls(retriever, here, there)

    def retrieve(self, requests: Sequence[Asked]) -> list[SearchResult]:
        """Answers requests in rows of today's catalogue."""
        found = self.retriever.retrieve([self._asked(each) for each in requests])
        return [
            answer._replace(rows=self.here[answer.rows], judged=self._judged(request, answer))
            for request, answer in zip(requests, found, strict=True)
        ]

    def _asked(self, request: Asked) -> Asked:
        allowed = self.here >= 0
        if request.allowed is not None:
            allowed &= request.allowed[self.here]
        rows: dict[str, Any] = {
            name: self._known(getattr(request, name)) for name in _ROW_FIELDS if hasattr(request, name)
        }
        return replace(request, **rows, allowed=None if allowed.all() else allowed)

    def _known(self, rows: np.ndarray) -> np.ndarray:
        there = self.there[rows]
        return there[there >= 0]

    def _judged(self, request: SessionQuery | TextQuery, answer: SearchResult) -> np.ndarray | None:
        if not isinstance(request, TextQuery) or not len(request.judged):
            return None
        scores = np.full(len(request.judged), -np.inf, np.float32)
        if answer.judged is not None:  # it knows one of them
            scores[self.there[request.judged] >= 0] = answer.judged
        return scores


def load_champion_judged_once(name: str, champion: Champion, folder: Path) -> BaselineModel[Any] | None:
    """Loads the champion of a kind that is judged once as a row; None where it cannot be judged.

    It answers from its own files, as it does in service: items that are new today are none of its results.

    Args:
        name: What stands for a domain.
        champion: As it was fetched.
        folder: Where to.
    """
    if champion.status != READY:
        return None
    new_items, here = np.load(folder / NEW_ITEMS_FILE), np.load(folder / ROWS_FILE)
    retriever = HOW[kind_of(name).retriever].open(folder / RETRIEVER_FOLDER, np.load(folder / ITEM_IDS_FILE))
    return BaselineModel(OtherCatalogue.of(retriever, here, len(new_items)), new_items)
