"""Which versions a service may answer from: those that the registry's alias and the release log agree on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from modit.core.errors import ModitError
from modit.release.model_version import CHAMPION, PREVIOUS, ModelRegistry, NamedVersion
from modit.release.refusals import Refused
from modit.release.standing import standing_of


@dataclass(frozen=True)
class Disagreement:
    """A domain of which log and registry say different things.

    Attributes:
        domain: whose.
        error: what differs.
    """

    domain: str
    error: Exception


def agreed_versions(registry: ModelRegistry, alias: str) -> list[NamedVersion | Disagreement]:
    """The versions that bear an alias. `champion` and `previous` are the log's to give; others are the registry's own.

    Args:
        registry: to ask. Where a promotion died before its aliases were moved, they are moved.
        alias: wanted.
    """
    found = [_agreed(registry, domain, alias) for domain in registry.domains()]
    return [each for each in found if each is not None]


def _agreed(registry: ModelRegistry, domain: str, alias: str) -> NamedVersion | Disagreement | None:
    if alias not in (CHAMPION, PREVIOUS):
        return registry.named_version(domain, alias)
    try:
        standing = standing_of(registry, domain)
        number = standing.aliases.get(alias)
        if number is None:
            return None
        version, entry = registry.version(domain, number), standing.entry_of(number)
        if entry is None or version.tags.get("bundle_digest") != entry.bundle_digest:
            promoted = entry.bundle_digest if entry else "nothing"
            bundle = version.tags.get("bundle_digest")
            raise Refused("broken_bundle", f"tag bundle_digest of {version.label} is {bundle}, promoted was {promoted}")
        return replace(version, alias=alias)
    except (ModitError, OSError) as error:  # of one domain; the others go on
        return Disagreement(domain, error)
