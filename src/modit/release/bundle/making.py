"""Makes a bundle from the artifacts of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modit.core.artifacts import Manifest
from modit.core.errors import ArtifactError
from modit.core.storage import sha256_of_file
from modit.core.window import Days
from modit.data.splits import HOLDOUTS
from modit.inference.items import Items, load_items
from modit.inference.retrieval import SamplerRetriever, retriever_over
from modit.metric.cases import Cases
from modit.metric.second_stage import SecondStage
from modit.release.bundle.bundle import (
    CANARIES_FILE,
    CARD_FILE,
    PARAMS_FILE,
    PARTS,
    SPACE_FILE,
    Bundle,
    Part,
)
from modit.release.bundle.canaries import Canary, ask, save_canaries
from modit.release.bundle.embedding_space import Space
from modit.release.bundle.loading import load_domain_sampler
from modit.release.bundle.model_card import model_card
from modit.release.documents import Json, read_strictly, write_document

_CANARY_CASES = 4  # of each hold-out


@dataclass(frozen=True)
class Ingredients:
    """Inputs of a domain's bundle.

    Attributes:
        folders: Artifact of `PARTS` -> folder with its files.
        manifests: Artifact of `PARTS` -> its manifest.
        params: All sections that the run's steps read.
        feature_service: As in the manifest of the bundle.
        days: Of the data, or None.
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
        ArtifactError: The artifacts do not belong together; the difference is named.
    """
    _expect_one_run(made_of)
    parts = {name: _part(made_of.manifests[name], files) for name, files in PARTS.items()}
    report, judged = read_strictly(made_of.folders["report"] / "report.json"), _judged(made_of)
    sampler = load_domain_sampler(made_of.folders["sampler"], made_of.domain)
    index = read_strictly(made_of.folders["index"] / "meta.json")["digest"]
    items = load_items(made_of.folders["index"], made_of.folders["catalog"], (index, parts["catalog"].digest))
    space = Space.of(items.index.item_ids, items.embeddings)
    window = {"start": str(made_of.days.start), "end": str(made_of.days.end)} if made_of.days else None

    second_stage = SecondStage.load(made_of.folders["second_stage"], *items.embeddings.shape)
    retriever = retriever_over(sampler, items, second_stage.patterns)
    save_canaries(_canaries(made_of.folders["cases"], retriever, items), folder / CANARIES_FILE)
    space.save(folder / SPACE_FILE)
    write_document(folder / PARAMS_FILE, made_of.params)
    card = model_card(sampler.info, second_stage, report["run"], judged, window, len(items.index))
    (folder / CARD_FILE).write_text(card, encoding="utf-8")

    bundle = Bundle(
        domain=made_of.domain,
        parts=parts,
        files={path.name: sha256_of_file(path) for path in sorted(folder.iterdir())},
        index_digest=items.index.digest,
        space=space.version,
        feature_service=made_of.feature_service,
        window=window,
        status=judged["status"],
    )
    bundle.save(folder)
    return bundle


def _expect_one_run(made_of: Ingredients) -> None:
    """Sampler and second stage were made with this index and catalogue. A step that ran by hand may have another."""
    for artifact, what in (("sampler", "sampler"), ("second_stage", "second stage")):
        inputs = made_of.manifests[artifact].key_parts["inputs"]
        for name in ("index", "catalog"):
            found = made_of.manifests[name].digest
            if found != inputs[name]:
                raise ArtifactError(
                    f"artifact {name!r} is {found}; the {what} of {made_of.domain} was made for {inputs[name]}"
                )


def _part(manifest: Manifest, files: tuple[str, ...] | None) -> Part:
    kept = manifest if files is None else manifest.only(files)
    return Part(manifest.kind, manifest.domain, {entry.name: entry.sha256 for entry in kept.files})


def _judged(made_of: Ingredients) -> Json:
    path = made_of.folders["verdict"] / "verdict.json"
    judged = read_strictly(path)["domains"].get(made_of.domain)
    if judged is None:
        raise ArtifactError(f"{path} has no domain {made_of.domain}")
    return judged


def _canaries(folder: Path, retriever: SamplerRetriever, items: Items) -> list[Canary]:
    """The first cases of each split, with as many seeds as the sampler takes."""
    found = []
    for split in HOLDOUTS:
        for row in Cases.load(folder / f"{split}.npz").seeds[:_CANARY_CASES]:
            seeds = items.ids_of(row[row >= 0][: retriever.sampler.info.maximum_seeds])
            found.append(ask(retriever, items, seeds))
    if not found:
        raise ArtifactError(f"{folder}: there is no case that could become a canary query")
    return found
