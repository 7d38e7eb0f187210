"""Makes a bundle from the artifacts of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modit.core.artifacts import Manifest
from modit.core.errors import ArtifactError
from modit.core.storage import sha256_of_file
from modit.core.window import Days
from modit.data.splits import HOLDOUTS
from modit.inference.items import Items, load_items
from modit.inference.runtime import OnnxSampler, load_sampler
from modit.inference.sampler_file import FLOAT32, sampler_file
from modit.metric.cases import Cases
from modit.release.bundle.bundle import (
    CARD_FILE,
    LICENCES_FILE,
    PARAMS_FILE,
    PARTS,
    SPACE_FILE,
    Bundle,
    Part,
    canaries_file,
)
from modit.release.bundle.canaries import Canary, ask, save_canaries
from modit.release.bundle.embedding_space import Space
from modit.release.bundle.licences import licences
from modit.release.bundle.model_card import model_card

Json = dict[str, Any]

_CANARY_CASES = 4  # of each hold-out


@dataclass(frozen=True)
class Ingredients:
    """What a bundle is made of.

    Attributes:
        domain: whose.
        folders: artifact of `PARTS` -> where its files are.
        manifests: artifact of `PARTS` -> its manifest.
        params: all sections that the run's steps read.
        feature_service: `name` and `digest`.
        days: of the data, or None.
    """

    domain: str
    folders: Mapping[str, Path]
    manifests: Mapping[str, Manifest]
    params: Json
    feature_service: dict[str, str]
    days: Days | None


def make_bundle(folder: Path, made_of: Ingredients) -> Bundle:
    """Writes a bundle into an empty folder; equal ingredients give equal bytes.

    Raises:
        ArtifactError: the artifacts do not belong together; what differs is named.
    """
    _expect_one_run(made_of)
    parts = {name: _part(made_of.manifests[name], files) for name, files in PARTS.items()}
    report, judged = _read(made_of.folders["report"] / "report.json"), _judged(made_of)
    samplers = {
        name: load_sampler(made_of.folders["sampler"] / sampler_file(name), threads=1)
        for name in (FLOAT32, *judged["precisions"])
    }
    sampler = samplers[FLOAT32]
    if sampler.info.domain != made_of.domain:
        raise ArtifactError(f"sampler.onnx is of domain {sampler.info.domain}; the bundle is of {made_of.domain}")
    items = _items(made_of, parts)
    space = Space.of(items.index.item_ids, items.embeddings)
    window = {"start": str(made_of.days.start), "end": str(made_of.days.end)} if made_of.days else None
    for name, each in samplers.items():
        save_canaries(_canaries(made_of, each, items), folder / canaries_file(name))
    space.save(folder / SPACE_FILE)
    _write(folder / PARAMS_FILE, made_of.params)
    _write(folder / LICENCES_FILE, licences())
    card = model_card(sampler.info, report, judged, window, len(items.index))
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    own = {path.name: sha256_of_file(path) for path in sorted(folder.iterdir())}
    bundle = Bundle(
        domain=made_of.domain,
        parts=parts,
        files=own,
        index_digest=items.index.digest,
        space=space.version,
        feature_service=made_of.feature_service,
        window=window,
        status=judged["status"],
        precisions=judged["precisions"],
    )
    bundle.save(folder)
    return bundle


def _expect_one_run(made_of: Ingredients) -> None:
    """The sampler was exported with this index and this catalogue; a step that was run again by hand may differ."""
    inputs = made_of.manifests["sampler"].key_parts["inputs"]
    for name in ("index", "catalog"):
        found = made_of.manifests[name].digest
        if found != inputs[name]:
            raise ArtifactError(
                f"artifact {name!r} is {found}; the sampler of {made_of.domain} was made for {inputs[name]}"
            )


def _part(manifest: Manifest, files: tuple[str, ...] | None) -> Part:
    kept = manifest if files is None else manifest.only(files)
    return Part(manifest.kind, manifest.domain, {entry.name: entry.sha256 for entry in kept.files})


def _items(made_of: Ingredients, parts: Mapping[str, Part]) -> Items:
    digests = (_read(made_of.folders["index"] / "meta.json")["digest"], parts["catalog"].digest)
    return load_items(made_of.folders["index"], made_of.folders["catalog"], digests)


def _judged(made_of: Ingredients) -> Json:
    judged = _read(made_of.folders["verdict"] / "verdict.json")["domains"].get(made_of.domain)
    if judged is None:
        raise ArtifactError(f"{made_of.folders['verdict']}/verdict.json says nothing of {made_of.domain}")
    return judged


def _canaries(made_of: Ingredients, sampler: OnnxSampler, items: Items) -> list[Canary]:
    """The first cases of each split, as far as the sampler takes so many seeds."""
    found = []
    for split in HOLDOUTS:
        for row in Cases.load(made_of.folders["cases"] / f"{split}.npz").seeds[:_CANARY_CASES]:
            seeds = items.ids_of(row[row >= 0][: sampler.info.maximum_seeds])
            found.append(ask(sampler, items, seeds))
    if not found:
        raise ArtifactError(f"{made_of.folders['cases']}: no case to make a canary query of")
    return found


def _read(path: Path) -> Json:
    return json.loads(path.read_text(encoding="utf-8"))


def _write(path: Path, content: Json) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
