"""The champion of a domain, as a run needs it to judge its candidate.

`fetch_champion` copies it from the registry and its run. Where no version was promoted yet, the status is `none`. A
champion that exists but cannot be judged has its own status, and the gate does not treat it as `none`.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from pydantic import with_config

from modit.core.artifacts import ArtifactStore
from modit.core.errors import ArtifactError
from modit.core.storage import Storage, sha256_of_file
from modit.data.catalog import Catalog
from modit.evaluate.task import BaselineModel
from modit.index.item_index import ItemIndex
from modit.inference.retrieval import Query, SamplerRetriever
from modit.inference.runtime import load_sampler
from modit.inference.sampler_file import SAMPLER_FILE
from modit.metric.evidence import KnownVerdicts
from modit.metric.known_patterns import KnownPatterns
from modit.release.bundle.embedding_space import difference_of
from modit.release.bundle.loading import ReleaseSource, load_domain_sampler
from modit.release.documents import STRICT, Json, read_document, write_document
from modit.release.model_registry.mlflow_registry import MlflowRegistry
from modit.release.model_registry.model_version import CHAMPION, LOG_TAG, NamedVersion
from modit.release.model_registry.registry_access import has_models
from modit.release.model_registry.release_state import resolve_version

CHAMPION_FILE, NEW_ITEMS_FILE = "champion.json", "new_items.npy"
NONE, READY, OTHER_SPACE, UNREADABLE = "none", "ready", "other_space", "unreadable"
_FACTS = ("status", "reason", "model", "version", "sampler_digest", "lost_items")
_ITEMS, _EMBEDDINGS = "items.parquet", "embeddings.npy"
_COMPARED_ITEMS = 2_000


@with_config(STRICT)
@dataclass(frozen=True)
class Champion:
    """What answers for a domain today, as the gate needs it.

    Attributes:
        status: "none": nothing was promoted yet; "ready": it can be judged; "other_space": it works on other
            embeddings; "unreadable": its files are missing, damaged or not what was registered.
        reason: Why it is not ready, or None.
        model: Registered name; this, `version`, `run` (an address) and the digests are as registered, or None.
        lost_items: Share in [0, 1] of the items of its catalogue that today's catalogue lacks; callers would no longer
            find them. None where it cannot be judged.
    """

    status: str
    reason: str | None = None
    model: str | None = None
    version: int | None = None
    run: str | None = None
    sampler_digest: str | None = None
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
    """Writes `champion.json` and, of a champion that can be judged, `sampler.onnx` and `new_items.npy`.

    The last has for each item of today's catalogue whether the champion's catalogue lacked it.
    """
    if named is None:
        found = Champion(NONE, f"no version of modit-{domain} has the alias {CHAMPION}")
    else:
        try:
            found = _fetch(named, domain, catalog, folder)
        except ArtifactError as error:
            run_uri, sampler, index = (named.tags.get(name) for name in ("run_uri", "sampler_digest", "index_digest"))
            found = Champion(UNREADABLE, str(error), named.model, named.version, run_uri, sampler, index)
    found.save(folder)
    return found


def _fetch(named: NamedVersion, domain: str, catalog: Catalog, folder: Path) -> Champion:
    source = ReleaseSource.of(named)
    run, sampler_digest = source.run_uri, source.sampler_digest
    with tempfile.TemporaryDirectory(prefix="modit-") as cache:
        store = ArtifactStore(Storage(run), Path(cache))
        file = store.read("sampler", domain) / SAMPLER_FILE
        if (digest := sha256_of_file(file)) != sampler_digest:
            raise ArtifactError(f"{run}: sha256 of {SAMPLER_FILE} is {digest}; the registry has {sampler_digest}")
        info = load_domain_sampler(file.parent, domain).info
        items = store.read("catalog", files=(_ITEMS, _EMBEDDINGS))
        ids = np.array(pq.read_table(items / _ITEMS, columns=["item_id"])["item_id"].to_pylist(), dtype=str)
        reason = _other_space(catalog, ids, np.load(items / _EMBEDDINGS, mmap_mode="r"), info.dimension)
        facts = (named.model, named.version, run, sampler_digest, source.index_digest)
        if reason:
            return Champion(OTHER_SPACE, reason, *facts)
        shutil.copyfile(file, folder / SAMPLER_FILE)
        np.save(folder / NEW_ITEMS_FILE, ~np.isin(catalog.item_ids, ids))
    return Champion(READY, None, *facts, lost_items=float(1 - np.isin(ids, catalog.item_ids).mean()))


def _other_space(catalog: Catalog, ids: np.ndarray, vectors: np.ndarray, dimension: int) -> str | None:
    """Why a sampler does not work on today's embeddings, or None."""
    if dimension != catalog.dimension:
        return f"it takes embeddings of {dimension} numbers, today's have {catalog.dimension}"
    _, today, then = np.intersect1d(catalog.item_ids, ids, return_indices=True)
    some = np.linspace(0, len(today) - 1, min(_COMPARED_ITEMS, len(today))).astype(int)
    return difference_of(np.asarray(vectors[then[some]]), np.asarray(catalog.embeddings[today[some]]))


def load_champion(
    champion: Champion,
    folder: Path,
    index: ItemIndex,
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
