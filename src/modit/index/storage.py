"""The index on disk: `index.faiss`, or a file for each shard; `item_ids.npy`, `canaries.npy` and `meta.json`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import faiss
import numpy as np

from modit.core.errors import ArtifactError
from modit.index.params import Kind
from modit.index.parts import part_names, put_files


class TopK(NamedTuple):
    """Lists of retrieved items.

    Attributes:
        scores: Inner products, float32 [B, k], descending; -inf in empty places.
        rows: Catalogue rows, int64 [B, k], equal scores by row; -1 in empty places.
    """

    scores: np.ndarray
    rows: np.ndarray

    @property
    def missing(self) -> int:
        """Number of empty places over all lists."""
        return int((self.rows < 0).sum())


# Finds the k items of greatest inner product for each query, float32 [B, d].
Search: TypeAlias = Callable[[np.ndarray, int], TopK]
# An index in memory, or the files of its shards.
Content: TypeAlias = faiss.Index | list[Path]
FORMAT = 1
IDS_FILE, CANARY_FILE, META_FILE = "item_ids.npy", "canaries.npy", "meta.json"
_CANARIES, _CANARY_K = 8, 10
_CANARY_TOLERANCE = 1e-4  # another processor may sum in another order
_BUFFER = 2**22


@dataclass(frozen=True)
class IndexMeta:
    """What was built and why.

    Attributes:
        kind: The kind that was built.
        reason: Why this kind; where it replaced another, what was measured.
        items: Number of items N.
        dimension: Width d.
        requested_kind: The configured kind.
        estimated_bytes: Estimated peak memory.
        nprobe: Lists visited per query; 0 for "flat".
        nlist: Number of lists; 0 for "flat".
        recall: Measured by the calibration; 1 for "flat".
        shards: Number of files that hold it.
    """

    kind: Kind
    reason: str
    items: int
    dimension: int
    requested_kind: str
    estimated_bytes: int
    nprobe: int = 0
    nlist: int = 0
    recall: float = 1.0
    shards: int = 1


def digest(content: Content, item_ids: np.ndarray, meta: IndexMeta) -> str:
    """sha256 over the settings that decide answers, the serialised index (streamed, no copy in memory), and the ids.

    Raises:
        ArtifactError: A file is missing.
    """
    settings = {"kind": meta.kind, "items": meta.items, "dimension": meta.dimension, "nprobe": meta.nprobe}
    settings |= {"shards": meta.shards} if meta.shards > 1 else {}
    hasher = hashlib.sha256(json.dumps({"format": FORMAT, **settings}, sort_keys=True).encode())
    if isinstance(content, faiss.Index):
        faiss.write_index(content, faiss.PyCallbackIOWriter(hasher.update, _BUFFER))
    else:
        for file in content:
            with _opened(file) as blocks:
                while block := blocks.read(_BUFFER):
                    hasher.update(block)
    # The type holds the width: without it two lists of ids could share their bytes.
    hasher.update(f"{item_ids.dtype.str}{item_ids.shape}".encode())
    hasher.update(np.ascontiguousarray(item_ids).view(np.uint8).data)
    return hasher.hexdigest()


def canaries(search: Search, meta: IndexMeta) -> np.ndarray:
    """Asks an index fixed queries; gives a structured array [8] of `query` [d], `rows` [10] and `scores` [10]."""
    queries = np.random.default_rng(0).standard_normal((_CANARIES, meta.dimension)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    k = min(_CANARY_K, meta.items)
    answers = search(queries, k)
    layout = [("query", np.float32, (meta.dimension,)), ("rows", np.int64, (k,)), ("scores", np.float32, (k,))]
    table = np.empty(_CANARIES, dtype=layout)
    table["query"], table["rows"], table["scores"] = queries, answers.rows, answers.scores
    return table


def verify_canaries(search: Search, meta: IndexMeta, folder: Path) -> None:
    """Asks a loaded index the canary queries of its folder again.

    Raises:
        ArtifactError: An answer differs by more than the order of nearly equal scores.
    """
    table = _read_array(folder / CANARY_FILE)
    if table.dtype.names != ("query", "rows", "scores") or table["query"].shape[1:] != (meta.dimension,):
        raise ArtifactError(f"{folder / CANARY_FILE}: has columns {table.dtype}; allowed: query [d], rows, scores")
    answers = search(table["query"], table["rows"].shape[1])
    same_scores = np.isclose(answers.scores, table["scores"], rtol=0, atol=_CANARY_TOLERANCE)
    same_rows = (answers.rows == table["rows"]) | _nearly_tied(table["scores"])
    wrong = np.flatnonzero(~(same_scores & same_rows).all(axis=1))
    if len(wrong):
        first = wrong[0]
        raise ArtifactError(
            f"{folder}: canary query {first} returns rows {answers.rows[first].tolist()} with scores "
            f"{answers.scores[first].tolist()}; stored are "
            f"{table['rows'][first].tolist()}, {table['scores'][first].tolist()}"
        )


def save(
    folder: Path,
    content: Content,
    item_ids: np.ndarray,
    meta: IndexMeta,
    checksum: str,
    canary_table: np.ndarray,
) -> None:
    """Writes the index, or puts its files, and the three others into an existing folder; the meta data last."""
    if isinstance(content, faiss.Index):
        faiss.write_index(content, str(folder / part_names(1)[0]))
    else:
        put_files(content, folder)
    np.save(folder / IDS_FILE, item_ids, allow_pickle=False)
    np.save(folder / CANARY_FILE, canary_table, allow_pickle=False)
    content = {"format": FORMAT, "digest": checksum, "faiss": faiss.__version__, **asdict(meta)}
    (folder / META_FILE).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load(folder: Path, expected: str | None) -> tuple[list[Path], np.ndarray, IndexMeta, str]:
    """Checks the files against the digest of the meta data and against the expected one.

    Returns:
        Those of the index, ids, meta data and digest.

    Raises:
        ArtifactError: a file is missing or damaged, or the digest is not the expected one.
    """
    content = _read_meta(folder / META_FILE)
    stored = content.pop("digest")
    if expected is not None and stored != expected:
        raise ArtifactError(f"{folder}: holds index {stored}; pinned is {expected}")
    meta = IndexMeta(**content)
    item_ids, files = _read_array(folder / IDS_FILE), [folder / name for name in part_names(meta.shards)]
    found = digest(files, item_ids, meta)
    if found != stored:
        names = ", ".join((files[0].name, *(["..."] if len(files) > 1 else []), IDS_FILE))
        raise ArtifactError(f"{folder}: {names} or the settings have digest {found}; {META_FILE} says {stored}")
    return files, item_ids, meta, stored


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        with _opened(path) as file:
            content = json.load(file)
    except json.JSONDecodeError as error:
        raise ArtifactError(f"{path}: is not JSON: {error}") from error
    names = {"format", "digest", "faiss", *IndexMeta.__dataclass_fields__}
    if not isinstance(content, dict) or set(content) != names:
        raise ArtifactError(f"{path}: allowed are exactly the fields {sorted(names)}")
    if content.pop("format") != FORMAT:
        raise ArtifactError(f"{path}: format is not {FORMAT}")
    del content["faiss"]
    return content


def _read_array(path: Path) -> np.ndarray:
    try:
        with _opened(path) as file:
            return np.load(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ArtifactError(f"{path}: damaged: {error}") from error


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: missing; allowed: a folder that ItemIndex.save wrote") from error


def _nearly_tied(scores: np.ndarray) -> np.ndarray:
    """Places whose score is within tolerance of a neighbour's; the last place may tie with what was cut off."""
    close = np.abs(np.diff(scores, axis=1)) < _CANARY_TOLERANCE
    tied = np.zeros(scores.shape, dtype=bool)
    tied[:, 1:] |= close
    tied[:, :-1] |= close
    tied[:, -1] = True
    return tied
