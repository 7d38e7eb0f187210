"""The kinds of retrievers that can be released: what a bundle of each consists of, and which steps judged it.

A kind is one entry of `KINDS`. Bundle, gate, registry, promotion and service are the same code for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from modit.core.names import NEXT_ITEM, REGISTRATIONS

# Names of kinds, as `bundle.json` has them.
SAMPLER, SEMANTIC_IDS = "sampler", "semantic_ids"
# Parts that every bundle has: what the figures are in, what the gate wrote, and the items.
REPORT, VERDICT, CATALOG = "report", "verdict", "catalog"


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
        bundle: Artifact of the bundle.
        verdict: Artifact of the verdict.
        servability: Artifact of the trial.
        registration: Artifact of the registered versions.
        per_domain: Whether a run has a bundle and a trial for each domain of its catalogue, or one.
        has_space: Whether callers may send vectors, so that its embedding space must stay the champion's.
    """

    retriever: str
    parts: Mapping[str, PartSource]
    model: tuple[str, str]
    report_file: str
    bundle: str = "bundle"
    verdict: str = "verdict"
    servability: str = "servability"
    registration: str = REGISTRATIONS[0]
    per_domain: bool = True
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
        return domain if self.per_domain else None


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
    },
    model=("sampler", "sampler.onnx"),
    report_file="report.json",
)
# A decoder of semantic IDs with the IDs of all items: one for the catalogue, and no vector is compared.
OF_SESSIONS = ReleaseKind(
    retriever=SEMANTIC_IDS,
    parts={
        "retriever": PartSource("exported_retriever"),
        CATALOG: PartSource("catalog", ("items.parquet",)),
        REPORT: PartSource("next_item_evaluation"),
        VERDICT: PartSource("next_item_verdict"),
    },
    model=("retriever", "retriever.json"),
    report_file="evaluation.json",
    bundle="next_item_bundle",
    verdict="next_item_verdict",
    servability="next_item_servability",
    registration=REGISTRATIONS[1],
    per_domain=False,
    has_space=False,
)
KINDS = (OF_SEEDS, OF_SESSIONS)


def kind_of(domain: str) -> ReleaseKind:
    """The kind that answers for a domain, or for `next_item`."""
    return OF_SESSIONS if domain == NEXT_ITEM else OF_SEEDS
