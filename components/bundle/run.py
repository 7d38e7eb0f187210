"""Writes the bundle of a domain: a manifest of everything that is promoted with it, canaries and the model card."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modit.core.errors import FeatureParityError
from modit.core.storage import sha256_of_file
from modit.data.catalog import EMBEDDINGS_FILE
from modit.features.parity import proven_matrix
from modit.features.store import service_name
from modit.release.bundle.making import Ingredients, make_bundle
from modit.release.kinds import OF_SEEDS

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads what the bundle names; writes `bundle`.

    The artifact: bundle.json, canaries.json, examples.json, space.json, params.json, model_card.md.
    """
    domain, lineage = context.domain, context.lineage()
    manifests = {each.kind: each for each in lineage if each.domain in (None, domain)}
    features = {
        "name": service_name(domain, context.run_uri),
        "digest": manifests["features"].digest,
        "matrix": _proven_matrix(context),
    }
    made_of = Ingredients(
        domain=domain,
        folders={name: context.input(part.artifact) for name, part in OF_SEEDS.parts.items()},
        manifests=manifests,
        params={name: section for each in lineage for name, section in each.key_parts["params"].items()},
        feature_service=features,
        days=context.days,
    )
    bundle = make_bundle(context.output("bundle"), made_of)
    return {"bundle_digest": bundle.digest, "status": bundle.status, "space": bundle.space}


def _proven_matrix(context: StepContext) -> str:
    """The sha256 of the embeddings, which the features must have been compared with."""
    proven = proven_matrix(context.input("features"))
    found = sha256_of_file(context.input("catalog") / EMBEDDINGS_FILE)
    if proven != found:
        raise FeatureParityError(
            f"{context.input('features')}: its rows were compared with a matrix of sha256 {proven}; "
            f"{EMBEDDINGS_FILE} of the catalogue has {found}"
        )
    return found
