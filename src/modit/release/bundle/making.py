"""Makes a bundle from the artifacts of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from modit.release.bundle.bundle import CANARIES_FILE, CARD_FILE, PARAMS_FILE, SPACE_FILE, Bundle, Part
from modit.release.bundle.canaries import Canary, K, ask, save_canaries
from modit.release.bundle.embedding_space import Space
from modit.release.bundle.examples import WorkedExamples
from modit.release.bundle.judged_once import HOW, exported_digests
from modit.release.bundle.loading import load_domain_sampler
from modit.release.bundle.model_card import card_judged_once, model_card
from modit.release.documents import Json, read_strictly, write_document
from modit.release.kinds import CATALOG, REPORT, RETRIEVER, VERDICT, PartSource, kind_of
from modit.release.verdict import VERDICT_FILE

_CANARY_CASES = 4  # of each hold-out


@dataclass(frozen=True)
class Ingredients:
    """Inputs of a domain's bundle.

    Attributes:
        domain: That it is for, or what stands for one.
        folders: Part of its kind -> folder with its files.
        manifests: Part of its kind -> its manifest.
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

    @property
    def parts(self) -> dict[str, Part]:
        """The parts of the bundle."""
        return {name: _part(self.manifests[name], source) for name, source in kind_of(self.domain).parts.items()}

    @property
    def report(self) -> Json:
        """The file of the part `report` that holds the figures."""
        return read_strictly(self.folders[REPORT] / kind_of(self.domain).report_file)

    @property
    def judged(self) -> Json:
        """The domain's part of the verdict.

        Raises:
            ArtifactError: There is none.
        """
        path = self.folders[VERDICT] / VERDICT_FILE
        judged = read_strictly(path)["domains"].get(self.domain)
        if judged is None:
            raise ArtifactError(f"{path} has no domain {self.domain}")
        return judged

    @property
    def window(self) -> dict[str, str] | None:
        """Days of the data, as in the manifest of the bundle."""
        return {"start": str(self.days.start), "end": str(self.days.end)} if self.days else None


def make_bundle(folder: Path, made_of: Ingredients) -> Bundle:
    """Writes the bundle of a domain into an empty folder; equal ingredients give equal bytes.

    Raises:
        ArtifactError: The artifacts do not belong together; the difference is named.
    """
    for artifact, what in (("sampler", "sampler"), ("second_stage", "second stage")):
        _expect_made_for(made_of, artifact, f"{what} of {made_of.domain}", ("index", CATALOG))
    parts, judged = made_of.parts, made_of.judged
    sampler = load_domain_sampler(made_of.folders["sampler"], made_of.domain)
    index = read_strictly(made_of.folders["index"] / "meta.json")["digest"]
    items = load_items(made_of.folders["index"], made_of.folders["catalog"], (index, parts["catalog"].digest))
    space = Space.of(items.index.item_ids, items.embeddings)

    second_stage = SecondStage.load(made_of.folders["second_stage"], *items.embeddings.shape)
    retriever = retriever_over(sampler, items, second_stage.patterns)
    save_canaries(_canaries(made_of.folders["cases"], retriever, items), folder / CANARIES_FILE)
    space.save(folder / SPACE_FILE)
    evaluation = made_of.report["domains"][made_of.domain]
    if examples := WorkedExamples.of_evaluation(evaluation, sampler.info.maximum_seeds):
        examples.save(folder)
    run = made_of.report["run"]
    card = model_card(sampler.info, second_stage, run, judged, made_of.window, len(items))
    return _bound(folder, made_of, card, items.index.digest, space.version)


def make_bundle_judged_once(folder: Path, made_of: Ingredients, run: Json) -> Bundle:
    """Writes the bundle of a kind that is judged once into an empty folder; equal ingredients give equal bytes.

    Canaries ask what its entry of `HOW` takes out of the catalogue.

    Args:
        folder: Empty.
        made_of: The ingredients.
        run: `catalogue`, `preset` and `seed` of the run, for the card.

    Raises:
        ArtifactError: The artifacts do not belong together; the difference is named.
    """
    kind, exported, catalog = kind_of(made_of.domain), made_of.folders[RETRIEVER], made_of.folders[CATALOG]
    how = HOW[kind.retriever]
    _expect_made_for(made_of, RETRIEVER, "exported retriever", (CATALOG,))
    retriever, items = how.load(exported, catalog)
    save_canaries([how.ask(retriever, items, given, K) for given in how.given(catalog)], folder / CANARIES_FILE)
    facts = read_strictly(exported / kind.model[1])
    card = card_judged_once(kind, how.card(facts), run, made_of.judged, made_of.window, len(items))
    return _bound(folder, made_of, card, exported_digests(kind, exported)["index_digest"], "")


def _bound(folder: Path, made_of: Ingredients, card: str, index_digest: str, space: str) -> Bundle:
    """Writes what all kinds have beside canaries, then the manifest over all files of the folder."""
    write_document(folder / PARAMS_FILE, made_of.params)
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    bundle = Bundle(
        domain=made_of.domain,
        parts=made_of.parts,
        files={path.name: sha256_of_file(path) for path in sorted(folder.iterdir())},
        index_digest=index_digest,
        space=space,
        feature_service=made_of.feature_service,
        window=made_of.window,
        status=made_of.judged["status"],
        retriever=kind_of(made_of.domain).retriever,
    )
    bundle.save(folder)
    return bundle


def _expect_made_for(made_of: Ingredients, part: str, what: str, others: Sequence[str]) -> None:
    """A part was made with these others. A step that ran by hand may have another one."""
    inputs = made_of.manifests[part].key_parts["inputs"]
    for name in others:
        found = made_of.manifests[name].digest
        if found != inputs[name]:
            raise ArtifactError(f"artifact {name!r} is {found}; the {what} was made for {inputs[name]}")


def _part(manifest: Manifest, source: PartSource) -> Part:
    kept = manifest if source.files is None else manifest.only(source.files)
    return Part(manifest.kind, manifest.domain, {entry.name: entry.sha256 for entry in kept.files})


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
