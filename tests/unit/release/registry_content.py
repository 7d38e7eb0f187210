"""All that a service reads of a registry, to compare two ways of reading it."""

from __future__ import annotations

from typing import Any

from modit.release.model_registry.mlflow_registry import MlflowRegistry
from modit.release.model_registry.model_version import Submission


def register_some(registry: MlflowRegistry) -> None:
    """Two models of this project with versions, aliases, tags and figures, and one of another project."""
    for domain, verdict, bundle in (("noir", "PASS", "1"), ("noir", "FAIL", "5"), ("western", "FAIL", "1")):
        digests = {"bundle": bundle * 64, "sampler": "1" * 64, "index": "2" * 64, "report": "3" * 64}
        digests["verdict"] = "4" * 64
        figures = {"item_holdout Joint@K": 0.5, "item_holdout Same@K": 0.25 if bundle == "1" else -1.5}
        registry.register(Submission(domain, verdict, "/runs/one", digests, figures, (), card="# A card"))
    registry.point_alias("noir", "champion", 2)
    registry.tag_model("noir", "note", "has 'quotes' and % signs")
    registry.client.create_registered_model("another-projects")


def content_of(registry: MlflowRegistry) -> dict[str, Any]:
    """Models, versions, aliases, tags and figures of a registry."""
    domains = registry.domains()
    versions = {domain: registry.stored_versions(domain) for domain in domains}
    return {
        "models": sorted(registry.models()),
        "versions": versions,
        "figures": {each.run_id: registry.figures(each.run_id) for found in versions.values() for each in found},
        "aliases": {domain: registry.aliases(domain) for domain in [*domains, "unknown"]},
        "tags": {domain: registry.model_tags(domain) for domain in [*domains, "unknown"]},
        "named": {domain: registry.named_version(domain, "champion") for domain in [*domains, "unknown"]},
        "by number": {domain: registry.version(domain, 1) for domain in domains},
    }
