"""Runs that hold what is promoted and served of retrievers that are judged once: real exports of tiny networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modit.core.artifacts import ArtifactStore, Manifest, digest_of_files, list_files
from modit.core.storage import Storage
from modit.core.window import Days
from modit.data.catalog import Catalog, Sequences
from modit.data.sessions import Sessions
from modit.export.next_item import export_decoder
from modit.index.item_codes import CODES_FILE, order_of_ties
from modit.index.item_neighbours import ItemNeighbours
from modit.index.quantizer import QUANTIZER_FILE
from modit.inference.answers import Answer, save_answers
from modit.inference.exported_files import PARITY_FILE, item_ids_digest
from modit.inference.next_item import load_next_item
from modit.inference.next_item_files import NextItemInfo
from modit.inference.sessions import SessionQuery
from modit.release.bundle.bundle import Bundle
from modit.release.bundle.canaries import example_request
from modit.release.bundle.judged_once import exported_digests
from modit.release.bundle.making import Ingredients, make_bundle_judged_once
from modit.release.kinds import OF_SESSIONS, REPORT, RETRIEVER, VERDICT
from modit.release.model_registry.model_version import NamedVersion, Submission
from modit.semantic_ids.decoder import Decoder, DecoderConfig
from modit.semantic_ids.params import TokenizerParams
from modit.semantic_ids.tokenizer import tokenize
from tests.unit.serve.bundles import make_catalog, write_json

SESSION_ITEMS = 5
PARITY = {"status": "passed", "greatest_difference": 1e-6}


class SessionBundle:
    """A run with the bundle of a retriever of the next item; another kind is a sub-class.

    Attributes:
        kind: of the retriever.
        run: its address.
        catalog: its items, and some sessions.
        store: its artifacts.
    """

    kind = OF_SESSIONS
    row = {"name": "Semantic IDs + neighbours", "recall_at_10": 0.1, "low": 0.05, "high": 0.15}

    def __init__(
        self,
        run: str,
        scratch: Path,
        seed: int = 0,
        *,
        status: str = "PASS",
        champion: int | None = None,
        may_repeat: bool = False,
        left_out: int = 0,
        ends: date | None = None,
    ) -> None:
        """Args: `seed` of the weights; `status` and `champion` as the verdict says; whether `may_repeat` was judged;
        `left_out`: how many of the first items the catalogue lacks; `ends` the data.
        """
        self.run, self.scratch, self.days = run, scratch, Days(date(2026, 1, 1), ends) if ends else None
        self.store = ArtifactStore(Storage(run), scratch / "cache")
        self.catalog = self.make_catalog(left_out)
        made_for = {"catalog": self.put("catalog", self.save_catalog).digest}
        self.put(self.artifact(RETRIEVER), lambda folder: self.export(folder, seed), made_for)
        exported = self.folder(self.artifact(RETRIEVER))
        measured = exported_digests(self.kind, exported) | {"may_repeat": may_repeat}
        self.put(self.artifact(REPORT), lambda folder: write_json(folder / "evaluation.json", measured))
        judged = {"status": status, "reasons": ["It was judged."], "figures": {}, "splits": {}, "rows": [self.row]}
        judged["champion"] = None if champion is None else {"version": champion}
        verdict = {"status": status, "domains": {self.kind.name: judged}}
        self.put(self.artifact(VERDICT), lambda folder: write_json(folder / "verdict.json", verdict))
        self.put(self.kind.bundle, self._bind)

    def make_catalog(self, left_out: int) -> Catalog:
        """The items, without the first `left_out`."""
        return _with_sessions(make_catalog(0), left_out)

    def save_catalog(self, folder: Path) -> None:
        """Writes the artifact `catalog`."""
        self.catalog.save(folder)

    def export(self, folder: Path, seed: int) -> None:
        """Writes the exported artifact."""
        export(folder, self.catalog, seed)

    def artifact(self, part: str) -> str:
        """Of a part of the bundle."""
        return self.kind.parts[part].artifact

    def put(self, name: str, write: Callable[[Path], Any], inputs: dict[str, str] | None = None) -> Manifest:
        """Writes an artifact as a step does."""
        folder = self.scratch / "making" / name
        folder.mkdir(parents=True)
        write(folder)
        files, parts = list_files(folder), {"inputs": inputs or {}, "params": {}, "code": {}}
        manifest = Manifest(name, None, files, digest_of_files(files), {}, "test", "key", parts)
        self.store.write(folder, manifest)
        return manifest

    def folder(self, artifact: str) -> Path:
        """Of an artifact."""
        return Path(self.run) / artifact

    def _bind(self, folder: Path) -> None:
        parts = self.kind.parts.items()
        made_of = Ingredients(
            domain=self.kind.name,
            folders={name: self.folder(part.artifact) for name, part in parts},
            manifests={name: self.store.get(part.artifact) for name, part in parts},
            params={},
            feature_service={},
            days=self.days,
        )
        run = {"catalogue": "books", "preset": "tiny", "seed": 0}
        make_bundle_judged_once(folder, made_of, run)

    @property
    def manifest(self) -> Bundle:
        """Content of `bundle.json`."""
        return Bundle.load(self.folder(self.kind.bundle))

    @property
    def digests(self) -> dict[str, str]:
        """Of a submission."""
        bundle = self.manifest
        return {
            "bundle": bundle.digest,
            "retriever": bundle.model_digest,
            "index": bundle.index_digest,
            "verdict": bundle.verdict_digest,
            "report": bundle.parts["report"].files["evaluation.json"],
        }

    def named(self, version: int = 1, **tags: str) -> NamedVersion:
        """The version as a registry names it."""
        digests = {f"{name}_digest": value for name, value in self.digests.items()}
        return NamedVersion(f"modit-{self.kind.name}", version, "champion", {"run_uri": self.run} | digests | tags)

    def submission(self) -> Submission:
        """For a real registry."""
        file = self.folder(self.artifact(RETRIEVER)) / self.kind.model[1]
        folder = self.folder(self.kind.bundle)
        more = {"card": (folder / "model_card.md").read_text(), "example": example_request(folder / "canaries.json")}
        return Submission(self.kind.name, self.manifest.status, self.run, self.digests, {}, (file,), **more)


def export(folder: Path, catalog: Catalog, seed: int) -> None:
    """Exports a decoder of random weights with real IDs of the items, as the step does."""
    counts = np.random.default_rng(1).integers(0, 9, len(catalog))
    params = TokenizerParams(method="sa2crq", sizes=(4, 6, 4), items_per_prefix=3)
    quantizer, codes = tokenize(catalog.embeddings, counts, order_of_ties(catalog.item_ids), params, 0)
    torch.manual_seed(seed)
    config = DecoderConfig(
        codes.vocabulary,
        width=16,
        depth=1,
        heads=2,
        dropout=0.0,
        session_items=SESSION_ITEMS,
        items=len(catalog),
        within_trie=True,
        node_vectors=True,
    )
    model = Decoder(config, codes.trie).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5 if parameter.ndim > 1 else 1)  # so that probabilities differ
    export_decoder(model, folder)
    quantizer.save(folder / QUANTIZER_FILE)
    codes.save(folder / CODES_FILE)
    save_no_neighbours(folder, len(catalog))
    write_json(folder / PARITY_FILE, PARITY)
    NextItemInfo(
        vocabulary=config.vocabulary,
        width=config.width,
        depth=config.depth,
        heads=config.heads,
        session_items=config.session_items,
        items=len(catalog),
        item_tokens=config.items,
        within_trie=config.within_trie,
        dimension=catalog.dimension,
        beams=6,
        k=10,
        item_ids_digest=item_ids_digest(catalog.item_ids),
        model_digest="0" * 64,
    ).save(folder)
    asked = [Sessions(catalog.sequences).training[number].astype(np.int64) for number in range(4)]
    found = load_next_item(folder).retrieve([SessionQuery(rows, 10, rows) for rows in asked])
    ids = catalog.item_ids
    answers = [
        Answer(ids[rows].tolist(), ids[each.rows].tolist(), each.scores.tolist())
        for rows, each in zip(asked, found, strict=True)
    ]
    save_answers(folder, answers)


def save_no_neighbours(folder: Path, items: int) -> None:
    """Writes the neighbours of items that have none."""
    none = np.zeros(0, np.int32), np.zeros(0, np.float32)
    ItemNeighbours(np.zeros(items + 1, np.int64), *none, 1.0, 0.0).save(folder)


def _with_sessions(catalog: Catalog, left_out: int) -> Catalog:
    """The catalogue without its first items, with ten sessions of six items."""
    kept = slice(left_out, None)
    items = np.random.default_rng(0).integers(0, len(catalog) - left_out, 60).astype(np.int32)
    return replace(
        catalog,
        item_ids=catalog.item_ids[kept],
        embeddings=catalog.embeddings[kept],
        verdicts={name: values[kept] for name, values in catalog.verdicts.items()},
        titles=catalog.titles[kept],
        sequences=Sequences(np.arange(0, 61, 6), items),
    )
