"""What a run of the retriever of the next item starts from: a version's IDs, tokeniser and weights, or nothing.

A run that starts from the champion keeps the IDs of its items and gives new ones an ID by its tokeniser. Trained a
little or not at all, it can recommend the items of today tonight.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np

from modit.core.artifacts import ArtifactStore
from modit.core.errors import ConfigError
from modit.core.storage import Storage, sha256_of_file
from modit.data.catalog import Catalog
from modit.index.item_codes import CODES_FILE
from modit.index.quantizer import QUANTIZER_FILE
from modit.inference.items import load_item_table
from modit.inference.next_item_files import NextItemInfo
from modit.release.bundle.embedding_space import difference_of_catalogues
from modit.release.bundle.release import ReleaseSource
from modit.release.documents import write_document
from modit.release.model_registry.model_version import NamedVersion

NOTHING, CHAMPION = "nothing", "champion"
STARTING_POINT_FILE, ITEM_IDS_FILE, MODEL_FILE = "starting_point.json", "item_ids.npy", "model.pt"
# Artifact of the run of a version with the weights that were exported.
_TRAINED = "next_item_retriever_adagrpo"


def fetch_starting_point(named: NamedVersion | None, catalog: Catalog, folder: Path) -> str | None:
    """Writes `starting_point.json` and, of a version, its IDs, its tokeniser, the ids of its items and its weights.

    Args:
        named: The version; None for nothing.
        catalog: Of today; its embeddings must be of the space that the tokeniser was made in.
        folder: Empty.

    Returns:
        Name of the version for people; None for nothing.

    Raises:
        ArtifactError: A file of the version is missing, damaged, or not what was registered.
        ConfigError: The embeddings are of another space, so that new items would get IDs without meaning.
    """
    if named is None:
        write_document(folder / STARTING_POINT_FILE, {"version": None})
        return None
    source = ReleaseSource.of(named)
    with tempfile.TemporaryDirectory(prefix="modit-") as cache:
        store = ArtifactStore(Storage(source.run_uri), Path(cache))
        exported, trained = store.read("exported_retriever"), store.read(_TRAINED, files=(MODEL_FILE,)) / MODEL_FILE
        info = NextItemInfo.load(exported)
        for what, found, expected in (
            ("retriever.json", sha256_of_file(exported / "retriever.json"), source.model_digest),
            (MODEL_FILE, sha256_of_file(trained), info.model_digest),
        ):
            if found != expected:
                raise ConfigError(f"{source.label}: sha256 of {what} is {found}; it was registered with {expected}")
        items = store.read("catalog", files=("items.parquet", "embeddings.npy"))
        ids = load_item_table(items).item_ids
        then = np.load(items / "embeddings.npy", mmap_mode="r")
        if reason := difference_of_catalogues(catalog.item_ids, catalog.embeddings, ids, then):
            raise ConfigError(
                f"starting_point.origin is {CHAMPION!r}, but {source.label} knows other embeddings: {reason}; "
                f"allowed: {NOTHING!r}, or the encoder of that version"
            )
        for name in (CODES_FILE, QUANTIZER_FILE):
            shutil.copyfile(exported / name, folder / name)
        shutil.copyfile(trained, folder / MODEL_FILE)
    np.save(folder / ITEM_IDS_FILE, ids)
    write_document(folder / STARTING_POINT_FILE, {"version": source.label})
    return source.label
