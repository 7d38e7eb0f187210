"""The kinds of retrievers that can be released: what a bundle of each consists of, and which steps judged it.

A kind is one entry of `KINDS`. Bundle, registry, promotion and service are the same code for all of them. Kinds that
are judged once for a catalogue share their steps, too, and their artifacts are named by one rule (`_judged_once`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from modit.core.names import FAN_OUT, JUDGED_ONCE, NEXT_ITEM, REGISTRATIONS, SEARCH

# Names of kinds, as `bundle.json` has them.
SAMPLER, SEMANTIC_IDS, TOWERS, SET_DIFFUSION = "sampler", "semantic_ids", "towers", "set_diffusion"
# Parts that every bundle has: what the figures are in, what the gate wrote, and the items.
REPORT, VERDICT, CATALOG = "report", "verdict", "catalog"
# Part of kinds that are judged once: what the service answers from.
RETRIEVER = "retriever"


@dataclass(frozen=True)
class PartSource:
    """Where a part of a bundle comes from.

    Attributes:
        artifact: Of the run.
        files: Those that count; None for all.
        optional: Bundles of earlier versions lack it, and a release answers without it.
    """

    artifact: str
    files: tuple[str, ...] | None = None
    optional: bool = False


@dataclass(frozen=True)
class ReleaseKind:
    """A kind of retriever, as it is judged, bound, registered and loaded.

    Attributes:
        retriever: Its name in `bundle.json`.
        parts: What its bundle names, by the part's name.
        model: Part and file whose sha256 is registered as that of the model.
        report_file: The file of the part `report` that holds the figures.
        name: What stands for a domain, of a kind that is judged once for a catalogue; None of one that is judged for
            each domain.
        path: Of the service, where such a kind answers.
        searched: File of the part `retriever` whose sha256 is registered as that of the index; of a kind that is judged
            for each domain, the index itself has a digest.
        bundle: Artifact of the bundle.
        verdict: Artifact of the verdict.
        servability: Artifact of the trial.
        registration: Artifact of the registered versions.
        has_space: Whether callers may send vectors, so that its embedding space must stay the champion's.
    """

    retriever: str
    parts: Mapping[str, PartSource]
    model: tuple[str, str]
    report_file: str
    name: str | None = None
    path: str = "/v1/retrieve"
    searched: str = ""
    bundle: str = "bundle"
    verdict: str = "verdict"
    servability: str = "servability"
    registration: str = REGISTRATIONS[0]
    has_space: bool = True

    @property
    def model_tag(self) -> str:
        """Tag of a registered version with the sha256 of its model."""
        return f"{self.model[0]}_digest"

    @property
    def optional(self) -> tuple[str, ...]:
        """Parts that bundles of earlier versions lack."""
        return tuple(name for name, part in self.parts.items() if part.optional)

    def folder_of(self, domain: str) -> str | None:
        """The domain that its artifacts lie under in a run; None where there is one for the run."""
        return domain if self.name is None else None

    @property
    def called(self) -> str:
        """What it is, in words, such as "retriever of the next item"."""
        return "domain" if self.name is None else JUDGED_ONCE[self.name].replace("retrievers", "retriever")


# A generated query and the index that it searches, for each domain. Index and catalogue are shared by the domains of a
# run, so they are named, not copied.
OF_SEEDS = ReleaseKind(
    retriever=SAMPLER,
    parts={
        "sampler": PartSource("sampler"),
        "index": PartSource("index"),
        CATALOG: PartSource("catalog", ("items.parquet", "embeddings.npy")),
        "cases": PartSource("cases"),
        REPORT: PartSource("report"),
        VERDICT: PartSource("verdict"),
        "second_stage": PartSource("second_stage", optional=True),
        # What the simple row beside the model moves along.
        "predictor": PartSource("predictor", ("geometry.npz",), optional=True),
    },
    model=("sampler", "sampler.onnx"),
    report_file="report.json",
)


def _judged_once(name: str, retriever: str, exported: str, model: str, searched: str, path: str) -> ReleaseKind:
    """A kind that has one bundle for a catalogue, and compares no vectors of callers.

    Args:
        name: That it is registered and served as; all artifacts but one begin with it.
        retriever: Its name in `bundle.json`.
        exported: The artifact that the service answers from.
        model: File of this artifact whose sha256 is the model's.
        searched: File of it whose sha256 is that of what is searched.
        path: Of the service.
    """
    return ReleaseKind(
        retriever=retriever,
        parts={
            RETRIEVER: PartSource(exported),
            CATALOG: PartSource("catalog", ("items.parquet",)),
            REPORT: PartSource(f"{name}_evaluation"),
            VERDICT: PartSource(f"{name}_verdict"),
        },
        model=(RETRIEVER, model),
        report_file="evaluation.json",
        name=name,
        path=path,
        searched=searched,
        bundle=f"{name}_bundle",
        verdict=f"{name}_verdict",
        servability=f"{name}_servability",
        registration=f"{name}_registration",
        has_space=False,
    )


# A decoder of semantic IDs with the IDs of all items.
OF_SESSIONS = _judged_once(
    NEXT_ITEM, SEMANTIC_IDS, "exported_retriever", "retriever.json", "item_codes.npz", "/v1/recommend"
)
# Two text towers with their index, fused with BM25; search.json has the digests of all their files.
OF_TEXTS = _judged_once(SEARCH, TOWERS, "exported_towers", "search.json", "search.json", "/v1/search")
# A diffusion over sets of queries with its text space; fan_out.json has the digests of all its files.
OF_INTENTS = _judged_once(FAN_OUT, SET_DIFFUSION, "exported_fan_out", "fan_out.json", "fan_out.json", "/v1/fan_out")
KINDS = (OF_SEEDS, OF_SESSIONS, OF_TEXTS, OF_INTENTS)
_BY_NAME = {kind.name: kind for kind in KINDS if kind.name}


def kind_of(domain: str) -> ReleaseKind:
    """The kind that answers for a domain, or for one of `modit.core.names.JUDGED_ONCE`."""
    return _BY_NAME.get(domain, OF_SEEDS)
