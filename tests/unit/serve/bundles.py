"""Runs that hold what a service loads: real index, catalogue and sampler, of a few hundred items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from modit.core.artifacts import ArtifactStore, Manifest, digest_of_files, list_files
from modit.core.storage import Storage
from modit.data.catalog import Catalog, Sequences
from modit.index import IndexConfig, ItemIndex
from modit.metric.patterns import Patterns
from modit.release.registry import NamedVersion, Submission
from tests.unit.release.conftest import DIMENSION, describe

ITEMS = 300


class Bundle:
    """A run with a sampler for each domain.

    Attributes:
        run: its address.
        catalog: what the index is over.
    """

    def __init__(self, run: str, scratch: Path, sampler_file: Path, domains: Sequence[str], seed: int = 0) -> None:
        self.run, self.scratch, self.domains = run, scratch, tuple(domains)
        self.store = ArtifactStore(Storage(run), scratch / "cache")
        self.catalog = make_catalog(seed)
        config = IndexConfig(kind="flat", use_gpu=False)
        index = ItemIndex.build(self.catalog.embeddings, self.catalog.item_ids, config)
        self.index_digest = index.digest
        made_of = {
            "catalog": self.put("catalog", None, self.catalog.save).digest,
            "index": self.put("index", None, index.save).digest,
        }
        self.patterns = np.arange(ITEMS, dtype=np.int32) % 7
        self.put("patterns", None, self._save_patterns, {"catalog": made_of["catalog"]})
        for domain in domains:
            self.put("sampler", domain, lambda folder, d=domain: of_domain(sampler_file, d, folder), made_of)

    def _save_patterns(self, folder: Path) -> None:
        nothing = np.zeros((7, DIMENSION), np.float32), np.zeros(7, np.int8), np.zeros(ITEMS, np.int8)
        for domain in self.domains:
            Patterns(nothing[0], self.patterns, *nothing[1:]).save(folder / f"{domain}.npz")

    def put(self, name: str, domain: str | None, write: Callable[[Path], None], inputs: dict | None = None) -> Manifest:
        """Writes an artifact as a step does."""
        folder = self.scratch / "making" / name
        folder.mkdir(parents=True)
        write(folder)
        files = list_files(folder)
        parts = {"inputs": inputs or {}, "params": {}, "code": {}}
        manifest = Manifest(name, domain, files, digest_of_files(files), {}, "test", "key", parts)
        self.store.write(folder, manifest)
        return manifest

    def tags(self, domain: str) -> dict[str, str]:
        """As `register` writes them."""
        digest = next(entry.sha256 for entry in self.store.get("sampler", domain).files)
        return {"run_uri": self.run, "domain": domain, "sampler_digest": digest, "index_digest": self.index_digest}

    def named(self, domain: str, version: int = 1, **tags: str) -> NamedVersion:
        """The version as a registry names it."""
        return NamedVersion(f"modit-{domain}", version, "champion", self.tags(domain) | tags)

    def submission(self, domain: str) -> Submission:
        """For a real registry."""
        tags = self.tags(domain)
        digests = {"sampler": tags["sampler_digest"], "index": tags["index_digest"], "report": "3", "verdict": "4"}
        file = Path(self.run) / "sampler" / domain / "sampler.onnx"
        return Submission(domain, "PASS", self.run, digests, {}, (file,))


def make_catalog(seed: int) -> Catalog:
    """Items with titles; ids of different lengths."""
    generator = np.random.default_rng(seed)
    vectors = generator.standard_normal((ITEMS, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = np.array([f"item-{row}" for row in generator.permutation(ITEMS)])
    titles = np.array([f"Title of {item_id}" for item_id in ids])
    attributes = {"crime": generator.random(ITEMS) < 0.1, "drama": generator.random(ITEMS) < 0.5}
    return Catalog(ids, vectors, attributes, titles, Sequences.none())


def of_domain(sampler_file: Path, domain: str, folder: Path) -> None:
    """The same weights, said to be of another domain: an export takes seconds."""
    model = onnx.load(sampler_file)
    onnx.helper.set_model_props(model, replace(describe(), domain=domain).as_metadata())
    onnx.save(model, folder / "sampler.onnx")
