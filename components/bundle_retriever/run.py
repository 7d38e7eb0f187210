"""Writes the bundle: a manifest of everything that is promoted, canaries and the model card."""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.judged_once import retriever_of
from modit.release.bundle.making import Ingredients, make_bundle_judged_once
from modit.release.kinds import kind_of

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads what the bundle names; writes the bundle: bundle.json, canaries.json, params.json, model_card.md."""
    config, lineage, retriever = context.run_config, context.lineage(), retriever_of(context.step)
    manifests, parts = {each.kind: each for each in lineage}, kind_of(retriever.name).parts
    made_of = Ingredients(
        domain=retriever.name,
        folders={name: context.input(part.artifact) for name, part in parts.items()},
        manifests={name: manifests[part.artifact] for name, part in parts.items()},
        params={name: section for each in lineage for name, section in each.key_parts["params"].items()},
        feature_service={},
        days=context.days,
    )
    # By its name alone: a reproduction reads the same files from another folder.
    name = config.catalogue.rstrip("/").rsplit("/", 1)[-1]
    run = {"catalogue": name, "preset": config.preset, "seed": context.seed}
    bundle = make_bundle_judged_once(context.output(retriever.bundle), made_of, run)
    return {"bundle_digest": bundle.digest, "status": bundle.status}
