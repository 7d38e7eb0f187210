"""Which versions may be forgotten, and the files of their runs with them. What was ever promoted stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modit.core.artifacts import ArtifactStore
from modit.core.errors import ArtifactError, ConfigError
from modit.core.storage import Storage
from modit.core.workspace import cache_folder
from modit.release.bundle.bundle import BUNDLE, PARTS
from modit.release.registry.model_version import ModelRegistry, NamedVersion
from modit.release.registry.standing import standing_of

# What a version alone needs; the rest of a bundle is shared by the domains of its run.
_OWN = (BUNDLE, "sampler", "cases")
_SHARED = tuple(name for name in PARTS if name not in (*_OWN, "report", "verdict"))


@dataclass(frozen=True)
class Retention:
    """What would go, and why the rest stays.

    Attributes:
        dropped: versions to forget.
        kept: label of a version -> why it stays.
        places: artifacts to remove.
    """

    dropped: list[NamedVersion]
    kept: dict[str, str]
    places: list[Storage]


def plan_retention(registry: ModelRegistry, newest: int) -> Retention:
    """Chooses over all domains, since the domains of a run share index and catalogue.

    Args:
        registry: of the models.
        newest: versions of each domain that stay whatever became of them, >= 1.

    Raises:
        ConfigError: `newest` is out of range.
        Refused: a log and the registry disagree; then nothing is known to be safe.
    """
    if newest < 1:
        raise ConfigError(f"--keep {newest}: allowed: 1 or more")
    dropped: list[NamedVersion] = []
    kept: dict[str, str] = {}
    needed: set[str] = set()
    for domain in registry.domains():
        reasons = _reasons(registry, domain, newest)
        for version in registry.versions(domain):
            if reason := reasons.get(version.version):
                kept[version.label] = reason
                needed.add(version.tags["run_uri"])
            else:
                dropped.append(version)
    return Retention(dropped, kept, _places(dropped, needed))


def carry_out_retention(registry: ModelRegistry, plan: Retention) -> None:
    """Forgets versions first: a version without files would be a promise that nobody can keep."""
    for version in plan.dropped:
        registry.delete(version)
    for place in plan.places:
        place.remove()


def retention_text(plan: Retention, *, done: bool) -> str:
    """Lines for a terminal."""
    lines = [f"keeps   {label}: {reason}" for label, reason in plan.kept.items()]
    lines += [f"{'removed' if done else 'removes'} {version.label}" for version in plan.dropped]
    lines += [f"{'removed' if done else 'removes'} {place.uri}" for place in plan.places]
    return "\n".join(lines or ["nothing is registered"])


def _reasons(registry: ModelRegistry, domain: str, newest: int) -> dict[int, str]:
    """Version -> why it stays."""
    if not registry.versions(domain):
        return {}
    standing = standing_of(registry, domain)
    reasons = {version.version: f"one of the {newest} newest" for version in registry.versions(domain)[-newest:]}
    reasons |= {entry.version: f"was the champion, entry {entry.number}" for entry in standing.entries if entry.moves}
    named: dict[int, list[str]] = {}
    for alias, number in standing.aliases.items():
        named.setdefault(number, []).append(alias)
    return reasons | {number: ", ".join(sorted(aliases)) for number, aliases in named.items()}


def _places(dropped: Sequence[NamedVersion], needed: set[str]) -> list[Storage]:
    found: dict[str, Storage] = {}
    for version in dropped:
        run = version.tags["run_uri"]
        if not _still_its(version):
            continue
        store = ArtifactStore(Storage(run), cache_folder())
        places = [store.at(name, version.domain) for name in _OWN]
        places += [] if run in needed else [store.at(name) for name in _SHARED]
        found |= {place.uri: place for place in places if place.sizes()}
    return list(found.values())


def _still_its(version: NamedVersion) -> bool:
    """Whether the run holds this version's bundle; a newer version of the same run may have taken its place."""
    store = ArtifactStore(Storage(version.tags["run_uri"]), cache_folder())
    try:
        manifest = store.find(BUNDLE, version.domain)
    except ArtifactError:
        return False
    return manifest is not None and manifest.summary.get("bundle_digest") == version.tags.get("bundle_digest")
