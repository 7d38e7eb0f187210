"""Clusters each domain's positives and fixes what is held out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from modit.core.errors import InsufficientDataError
from modit.core.seeds import derived_seed
from modit.data.catalog import Catalog
from modit.data.splits import item_split
from modit.metric.patterns import build_patterns

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads `catalog`; writes `patterns`: DOMAIN.npz, and domains.json with the domains skipped and why."""
    catalog = Catalog.load(context.input("catalog"))
    params, folder = context.params.assign_patterns, context.output("patterns")
    split = item_split(catalog.item_ids, params.item_test_share, params.item_validation_share, "item-split")
    skipped: dict[str, str] = {}
    for domain in catalog.chosen_domains(context.run_config.domains):
        seed = derived_seed(context.seed, "patterns", domain)
        try:
            patterns = build_patterns(
                catalog.embeddings, catalog.item_ids, catalog.verdicts[domain], split, params, seed
            )
        except InsufficientDataError as error:
            skipped[domain] = str(error)
            context.logger.warning("domain %s is skipped: %s", domain, error)
            continue
        patterns.save(folder / f"{domain}.npz")
    domains = sorted(path.stem for path in folder.glob("*.npz"))
    if not domains:
        raise InsufficientDataError(f"no domain of {context.run_config.catalogue} can be trained: {skipped}")
    (folder / "domains.json").write_text(json.dumps({"domains": domains, "skipped": skipped}, indent=1, sort_keys=True))
    return {"domains": domains, "skipped": skipped}
