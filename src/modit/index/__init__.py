"""FAISS build, calibration, search, staging and memory estimate. See docs/explanation/architecture.md."""

from modit.index.config import IndexConfig
from modit.index.exact import exact_search, search_threads
from modit.index.index import ItemIndex, TopK
from modit.index.memory import MemoryEstimate, estimate_memory
from modit.index.staging import load_staged, stage, staged_digest
from modit.index.storage import IndexMeta

__all__ = [
    "IndexConfig",
    "IndexMeta",
    "ItemIndex",
    "MemoryEstimate",
    "TopK",
    "estimate_memory",
    "exact_search",
    "load_staged",
    "search_threads",
    "stage",
    "staged_digest",
]
