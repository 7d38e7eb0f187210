"""Fetches the champion from the registry and its run, so that a run can judge its candidate against it.

No registry, or no version with the alias, is a first run. A champion that is there and cannot be judged is not: it is
written down as what it is, and the gate does not take it for none.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from modit.core.artifacts import ArtifactStore
from modit.core.errors import ArtifactError
from modit.core.storage import Storage, sha256_of_file
from modit.data.catalog import Catalog
from modit.evaluate.rival import ExportedRow, Rival
from modit.inference.runtime import load_sampler
from modit.inference.sampler_file import FLOAT32, PRECISIONS, sampler_file
from modit.release.bundle.space import difference_of
from modit.release.gate.champion import NEW_ITEMS_FILE, NONE, OTHER_SPACE, READY, SAMPLER_FILE, UNREADABLE, Champion
from modit.release.registry.agreement import agreed_version
from modit.release.registry.model_version import CHAMPION, LOG_TAG, NamedVersion
from modit.release.registry.registry import MlflowRegistry
from modit.release.registry.registry_file import has_models

_ITEMS, _EMBEDDINGS = "items.parquet", "embeddings.npy"
_TAGS = ("run_uri", "sampler_digest", "index_digest")
_COMPARED_ITEMS = 2_000


def named_champion(registry: str, domain: str) -> NamedVersion | None:
    """The champion of a domain; None where nothing was promoted, or there is no registry yet.

    Args:
        registry: address of the MLflow registry.
        domain: whose.

    Raises:
        Refused: the release log does not say what the alias says, as after it was moved by hand.
    """
    if not has_models(registry):
        return None
    models = MlflowRegistry(registry)
    return agreed_version(models, domain, CHAMPION) if LOG_TAG in models.model_tags(domain) else None


def fetch_champion(named: NamedVersion | None, domain: str, catalog: Catalog, folder: Path) -> Champion:
    """Writes `champion.json` and, of one that can be judged, `sampler.onnx` and `new_items.npy`.

    Args:
        named: the version, as the registry names it; None: there is none.
        domain: whose.
        catalog: of today. `new_items.npy` says of each of its items whether the champion's catalogue lacked it.
        folder: existing, of the artifact.
    """
    if named is None:
        found = Champion(NONE, f"no version of modit-{domain} bears the alias {CHAMPION}")
    else:
        try:
            found = _fetch(named, domain, catalog, folder)
        except ArtifactError as error:
            tags: dict[str, Any] = {name.replace("run_uri", "run"): named.tags.get(name) for name in _TAGS}
            found = Champion(UNREADABLE, str(error), named.model, named.version, **tags)
    found.save(folder)
    return found


def _fetch(named: NamedVersion, domain: str, catalog: Catalog, folder: Path) -> Champion:
    if missing := [name for name in _TAGS if name not in named.tags]:
        raise ArtifactError(f"{named.model}/{named.version} has no tag {', '.join(missing)}")
    run, sampler_digest, index_digest = (named.tags[name] for name in _TAGS)
    with tempfile.TemporaryDirectory(prefix="modit-") as cache:
        store = ArtifactStore(Storage(run), Path(cache))
        file = store.read("sampler", domain) / SAMPLER_FILE
        if (digest := sha256_of_file(file)) != sampler_digest:
            raise ArtifactError(f"{run}: sha256 of {SAMPLER_FILE} is {digest}; the registry says {sampler_digest}")
        info = load_sampler(file, threads=1).info
        if info.domain != domain:
            raise ArtifactError(f"{run}: {SAMPLER_FILE} is of domain {info.domain!r}, not {domain!r}")
        items = store.read("catalog", files=(_ITEMS, _EMBEDDINGS))
        ids = np.array(pq.read_table(items / _ITEMS, columns=["item_id"])["item_id"].to_pylist(), dtype=str)
        reason = _other_space(catalog, ids, np.load(items / _EMBEDDINGS, mmap_mode="r"), info.dimension)
        facts = (named.model, named.version, run, sampler_digest, index_digest)
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


def load_rival(champion: Champion, folder: Path) -> Rival | None:
    """The champion as the evaluation takes it; None where it cannot be judged.

    Args:
        champion: of the artifact.
        folder: of the artifact.
    """
    if champion.status != READY:
        return None
    sampler = load_sampler(folder / SAMPLER_FILE)
    return Rival(sampler, sampler.info.maximum_seeds, np.load(folder / NEW_ITEMS_FILE))


def load_variants(folder: Path) -> dict[str, ExportedRow]:
    """A candidate's files beside that of float32, by precision, on one thread, as they are served.

    Args:
        folder: of the artifact `sampler`.
    """
    files = {name: folder / sampler_file(name) for name in PRECISIONS if name != FLOAT32}
    samplers = {name: load_sampler(file, threads=1) for name, file in files.items() if file.is_file()}
    return {name: ExportedRow(sampler, sampler.info.maximum_seeds) for name, sampler in samplers.items()}
