"""Writes the bundle: a manifest of everything that is promoted, canary sessions and the model card."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modit.core.names import NEXT_ITEM
from modit.data.catalog import Catalog
from modit.data.sessions import Sessions
from modit.release.bundle.making import Ingredients, make_next_item_bundle
from modit.release.kinds import CATALOG, OF_SESSIONS

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads what the bundle names; writes `next_item_bundle`.

    The artifact: bundle.json, canaries.json, params.json, model_card.md.
    """
    config, lineage = context.run_config, context.lineage()
    manifests, parts = {each.kind: each for each in lineage}, OF_SESSIONS.parts
    made_of = Ingredients(
        domain=NEXT_ITEM,
        folders={name: context.input(part.artifact) for name, part in parts.items()},
        manifests={name: manifests[part.artifact] for name, part in parts.items()},
        params={name: section for each in lineage for name, section in each.key_parts["params"].items()},
        feature_service={},
        days=context.days,
    )
    sessions = Sessions(Catalog.load(made_of.folders[CATALOG]).sequences)
    # By its name alone: a reproduction reads the same files from another folder.
    name = config.catalogue.rstrip("/").rsplit("/", 1)[-1]
    run = {"catalogue": name, "preset": config.preset, "seed": context.seed}
    bundle = make_next_item_bundle(context.output("next_item_bundle"), made_of, sessions, run)
    return {"bundle_digest": bundle.digest, "status": bundle.status}
