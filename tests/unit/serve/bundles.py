"""Runs that hold what is promoted and served: real index, catalogue, sampler, cases, verdict and bundle, of a few
hundred items.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from modit.core.artifacts import ArtifactStore, Manifest, digest_of_files, list_files
from modit.core.storage import Storage
from modit.core.window import Days
from modit.data.catalog import Catalog, Sequences
from modit.features.store import service_name
from modit.index.engines.staging import stage
from modit.index.item_index import ItemIndex
from modit.index.params import IndexParams
from modit.metric.cases import Cases
from modit.metric.evidence import KnownVerdicts
from modit.metric.known_patterns import KnownPatterns
from modit.metric.patterns import Patterns
from modit.metric.predictor import DomainGeometry
from modit.metric.second_stage import SecondStage
from modit.model.readout import Move, readout_json
from modit.release.bundle.bundle import Bundle as BundleManifest
from modit.release.bundle.canaries import example_request
from modit.release.bundle.making import Ingredients, make_bundle
from modit.release.gate.figures import read_figures
from modit.release.kinds import OF_SEEDS
from modit.release.model_registry.model_version import NamedVersion, Submission
from tests.unit.release.gateworld import split
from tests.unit.samplers import DIMENSION, describe

ITEMS = 300
OF_DOMAIN = ("sampler", "cases", "second_stage", "predictor")
MOVE = {"blend": "mean", "step": "attribute", "length": 0.6, "evidence": "30", "evidence_weight": 0.6}
DEPTH, WEIGHT, SHARPNESS = 4, 0.1, 15.0


class Bundle:
    """A run with a bundle for each domain.

    Attributes:
        run: its address.
        catalog: what the index is over.
        store: its artifacts.
        index_digest: of its index.
    """

    def __init__(
        self,
        run: str,
        scratch: Path,
        sampler_file: Path,
        domains: Sequence[str],
        seed: int = 0,
        *,
        status: str = "PASS",
        champion: int | None = None,
        ends: date | None = None,
        order: int | None = None,
        params: dict[str, Any] | None = None,
        unscored: float = 0.0,
        integer_ids: bool = False,
        rerank: bool = False,
        vote_file: Path | None = None,
        simple_file: Path | None = None,
        engine: str = "",
    ) -> None:
        """Args: `seed` of the embeddings; `status` and `champion` as the verdict says; `ends` the data; `order` of the
        items, by default that of the seed: another order is another index of the same space;
        `params` of the run; `unscored`: share of the items without a verdict of drama; `rerank`: whether the second
        stage answers unasked; `vote_file`: what its domains vote with for others that nothing is trained for;
        `simple_file`: the same file, for a simple row and worked examples; without it, all is of an earlier version;
        `engine`: address of a collection beside which the catalogue is staged.
        """
        self.run, self.scratch, self.domains = run, scratch, tuple(domains)
        self.store = ArtifactStore(Storage(run), scratch / "cache")
        self.params = params or {}
        self.catalog = make_catalog(seed, seed if order is None else order, unscored, integer_ids)
        self.days = Days(date(2026, 1, 1), ends) if ends else None
        config = IndexParams(kind="flat", engine=engine)
        index = ItemIndex.build(self.catalog.embeddings, self.catalog.item_ids, config)
        self.index_digest = index.digest
        made_of = {
            "catalog": self.put("catalog", None, self.catalog.save).digest,
            "index": self.put("index", None, lambda folder: self._save_index(folder, index, config)).digest,
        }
        self.patterns = np.arange(ITEMS, dtype=np.int32) % 7
        self.put("patterns", None, self._save_patterns, {"catalog": made_of["catalog"]})
        judged = {"splits": {"item_holdout": split(), "pattern_holdout": split()}}
        run = {"skipped_domains": {}, "catalogue": "books", "preset": "tiny", "seed": 0}
        if simple_file:
            judged["splits"]["pattern_holdout"]["worked_examples"] = worked(self.catalog)
        report = {"run": run, "domains": dict.fromkeys(domains, judged)}
        self.put("report", None, lambda folder: write_json(folder / "report.json", report))
        self.put_verdict(status, champion)
        for domain in domains:
            files = (sampler_file, vote_file or simple_file)
            self.put("sampler", domain, lambda folder, d=domain, f=files: of_domain(*f, d, folder), made_of)
            if vote_file:
                self.put("readout", domain, save_readout)
            self.put("predictor", domain, save_geometry)
            self.put("cases", domain, lambda folder: save_cases(folder, seed))
            self.put("second_stage", domain, make_stage(seed, rerank, self.catalog).save, made_of)
            self.bind(domain)

    def _save_index(self, folder: Path, index: ItemIndex, params: IndexParams) -> None:
        index.save(folder)
        if params.engine:
            stage(index, self.catalog.embeddings, params, 0).save(folder)

    def _save_patterns(self, folder: Path) -> None:
        nothing = np.zeros((7, DIMENSION), np.float32), np.zeros(7, np.int8), np.zeros(ITEMS, np.int8)
        for domain in self.domains:
            Patterns(nothing[0], self.patterns, *nothing[1:]).save(folder / f"{domain}.npz")

    def put(self, name: str, domain: str | None, write: Callable[[Path], Any], inputs: dict | None = None) -> Manifest:
        """Writes an artifact as a step does."""
        return put_artifact(self.store, self.scratch, name, domain, write, inputs)

    def put_verdict(self, status: str, champion: int | None) -> None:
        """The verdict on all domains, judged against a version or none."""
        against = None if champion is None else {"version": champion}
        judged = {
            "status": status,
            "reasons": ["It was judged."],
            "figures": {},
            "splits": judged_splits(),
            "champion": against,
        }
        content = {"status": status, "domains": dict.fromkeys(self.domains, judged)}
        self.put("verdict", None, lambda folder: write_json(folder / "verdict.json", content))

    def bind(self, domain: str) -> Manifest:
        """The bundle, as the step makes it."""
        places = {name: domain if name in OF_DOMAIN else None for name in OF_SEEDS.parts}
        made_of = Ingredients(
            domain=domain,
            folders={name: self.store.read(name, place) for name, place in places.items()},
            manifests={name: self.store.get(name, place) for name, place in places.items()},
            params={"sampler": {"steps": 2}} | self.params,
            feature_service={"name": service_name(domain, self.run), "digest": "7" * 64},
            days=self.days,
        )
        return self.put("bundle", domain, lambda folder: {"bundle_digest": make_bundle(folder, made_of).digest})

    def manifest(self, domain: str) -> BundleManifest:
        """Content of `bundle.json`."""
        return BundleManifest.load(self.store.read("bundle", domain))

    def tags(self, domain: str) -> dict[str, str]:
        """As `register` writes them."""
        return {"run_uri": self.run, "domain": domain} | {
            f"{name}_digest": value for name, value in self.digests(domain).items()
        }

    def digests(self, domain: str) -> dict[str, str]:
        """Of a submission."""
        bundle = self.manifest(domain)
        return {
            "bundle": bundle.digest,
            "sampler": bundle.model_digest,
            "index": bundle.index_digest,
            "verdict": bundle.verdict_digest,
            "report": bundle.parts["report"].files["report.json"],
        }

    def named(self, domain: str, version: int = 1, **tags: str) -> NamedVersion:
        """The version as a registry names it."""
        return NamedVersion(f"modit-{domain}", version, "champion", self.tags(domain) | tags)

    def submission(self, domain: str, **changes: Any) -> Submission:
        """For a real registry."""
        bundle = self.manifest(domain)
        file = self.store.read("sampler", domain) / "sampler.onnx"
        folder = self.store.read("bundle", domain)
        more = {"card": (folder / "model_card.md").read_text(), "example": example_request(folder / "canaries.json")}
        whole = Submission(domain, bundle.status, self.run, self.digests(domain), {}, (file,), **more)
        return replace(whole, **changes)


def put_artifact(
    store: ArtifactStore,
    scratch: Path,
    name: str,
    domain: str | None,
    write: Callable[[Path], Any],
    inputs: dict | None = None,
) -> Manifest:
    """Writes an artifact as a step does; a dictionary that `write` returns is its summary."""
    folder = scratch / "making" / name
    folder.mkdir(parents=True)
    made = write(folder)
    summary = made if isinstance(made, dict) else {}
    files = list_files(folder)
    parts = {"inputs": inputs or {}, "params": {}, "code": {}}
    manifest = Manifest(name, domain, files, digest_of_files(files), summary, "test", "key", parts)
    store.write(folder, manifest)
    return manifest


def judged_splits() -> dict[str, Any]:
    """The splits of a verdict."""
    return {name: read_figures("", name, split(), False).as_json() for name in ("item_holdout", "pattern_holdout")}


def judged_run(folder: Path, verdict: dict[str, Any]) -> tuple[str, str]:
    """A run of which the verdict alone is there: its address, and sha256 of `verdict.json`."""
    making = folder / "making"
    making.mkdir(parents=True)
    write_json(making / "verdict.json", verdict)
    files = list_files(making)
    parts = {"inputs": {}, "params": {}, "code": {}}
    manifest = Manifest("verdict", None, files, digest_of_files(files), {}, "test", "key", parts)
    ArtifactStore(Storage(str(folder / "run")), folder / "cache").write(making, manifest)
    return str(folder / "run"), files[0].sha256


def make_catalog(seed: int, order: int | None = None, unscored: float = 0.0, integer_ids: bool = False) -> Catalog:
    """Items with titles; ids of different lengths. A share of the items may be `unscored`."""
    vectors = np.random.default_rng(seed).standard_normal((ITEMS, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    numbers = np.random.default_rng(seed if order is None else order).permutation(ITEMS)
    ids = np.array([str(number) if integer_ids else f"item-{number}" for number in numbers])
    titles = np.array([f"Title of {item_id}" for item_id in ids])
    chances = np.random.default_rng(seed).random((2, ITEMS))[:, numbers]
    verdicts = {"crime": (chances[0] < 0.1).astype(np.int8), "drama": (chances[1] < 0.5).astype(np.int8)}
    verdicts["drama"][np.random.default_rng(seed).random(ITEMS) < unscored] = -1
    return Catalog(ids, vectors[numbers], verdicts, titles, Sequences.none())


def save_cases(folder: Path, seed: int) -> None:
    """Cases of the two splits that are reported."""
    generator = np.random.default_rng(seed)
    for name in ("item_holdout", "pattern_holdout"):
        seeds = np.array([generator.choice(ITEMS, 6, replace=False) for _ in range(5)], np.int32)
        Cases(seeds, seeds[:, :2], np.zeros(5, np.int32)).save(folder / f"{name}.npz")


def make_stage(seed: int, enabled: bool, catalog: Catalog) -> SecondStage:
    """A second stage whose attribute model says something else of every item; every fourth item is of one pattern."""
    log_odds = np.random.default_rng(seed).uniform(-5, 5, ITEMS).astype(np.float32)
    everything = np.ones(ITEMS, bool)
    patterns = KnownPatterns.of(KnownVerdicts(catalog.embeddings, everything, everything), np.arange(ITEMS) % 4)
    return SecondStage(log_odds, patterns, DEPTH, WEIGHT, SHARPNESS, enabled, {"kind": "mean"})


def save_readout(folder: Path) -> None:
    """A vote of two moves, one of them local."""
    moves = [Move("mean", "attribute", 1.0), Move("mean", "both", 0.6, "30", 0.6)]
    write_json(folder / "readout.json", readout_json(0.0, moves, [0.5, 0.5]))


def of_domain(sampler_file: Path, vote_file: Path | None, domain: str, folder: Path) -> None:
    """The same weights, said to be of another domain: an export takes seconds."""
    model = onnx.load(sampler_file)
    onnx.helper.set_model_props(model, replace(describe(), domain=domain).as_metadata())
    onnx.save(model, folder / "sampler.onnx")
    if vote_file:
        shutil.copy(vote_file, folder)


def save_geometry(folder: Path) -> None:
    """Directions along two axes."""
    axes = np.eye(DIMENSION, dtype=np.float32)
    DomainGeometry(axes[0], axes[1], np.zeros(DIMENSION, np.float32), axes).save(folder / "geometry.npz")


def worked(catalog: Catalog) -> dict[str, Any]:
    """Worked examples as the evaluation writes them, of the first items."""
    ids = catalog.item_ids.tolist()
    lists = {"average": ids[14:17], "simple": ids[15:18], "served": ids[16:19]}
    joint = {"average": 0.2, "simple": 0.4, "served": 0.6}
    examples = [{"percentile": each, "seeds": ids[:14], "lists": lists, "joint": joint} for each in (25, 75)]
    row = {"name": "Local feedback + rerank", "move": MOVE}
    return {"patterns": 5, "k": 3, "simple_row": row, "examples": examples}


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
