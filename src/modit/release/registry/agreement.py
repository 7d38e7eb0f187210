"""Which versions a service may answer from: those that the registry's alias and the release log agree on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from modit.core.errors import ModitError
from modit.release.registry.model_version import CHAMPION, PREVIOUS, ModelRegistry, NamedVersion
from modit.release.registry.refusals import Refused
from modit.release.registry.standing import log_of, standing_of


@dataclass(frozen=True)
class Disagreement:
    """A domain of which log and registry say different things.

    Attributes:
        domain: whose.
        error: what differs.
    """

    domain: str
    error: Exception


class Agreement:
    """Asks again and again; a log is read only when something has changed since it was read last."""

    def __init__(self, registry: ModelRegistry, alias: str) -> None:
        """Args: `registry` to ask; where a promotion died before its aliases were moved, they are moved. `alias`
        that is wanted.
        """
        self._registry, self._alias = registry, alias
        self._known: dict[str, tuple[object, NamedVersion | None]] = {}

    def versions(self) -> list[NamedVersion | Disagreement]:
        """Those that bear the alias. `champion` and `previous` are the log's to give; others are the registry's own."""
        found = [self._version(domain) for domain in self._registry.domains()]
        return [each for each in found if each is not None]

    def _version(self, domain: str) -> NamedVersion | Disagreement | None:
        if self._alias not in (CHAMPION, PREVIOUS):
            return self._registry.named_version(domain, self._alias)
        try:
            tags = self._registry.model_tags(domain)
            seen = (tags, self._registry.aliases(domain), log_of(tags, domain).count())
            before, version = self._known.get(domain, (None, None))
            if seen != before:
                version = agreed_version(self._registry, domain, self._alias)
                self._known[domain] = (seen, version)
            return version
        except (ModitError, OSError) as error:  # of one domain; the others go on
            return Disagreement(domain, error)


def agreed_version(registry: ModelRegistry, domain: str, alias: str) -> NamedVersion | None:
    """The version of a domain with one of the aliases that are the log's to give; None where it gave none.

    Args:
        registry: of the domain's model; where a promotion died before its aliases were moved, they are moved.
        domain: whose.
        alias: `champion` or `previous`.

    Raises:
        Refused: log and registry do not agree; what differs is named.
    """
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
