"""What is promoted of each domain: the release log, and the registry's aliases that mirror it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from modit.core.errors import ConfigError, ModitError
from modit.core.storage import Storage
from modit.release.promotion.model_version import (
    ALIAS,
    CHAMPION,
    HEAD_TAG,
    LOG_TAG,
    OVERRIDE_TAG,
    PREVIOUS,
    REVIEW_TAG,
    ModelRegistry,
    NamedVersion,
    model_name,
)
from modit.release.promotion.refusals import Refused
from modit.release.promotion.release_log import (
    OVERRIDE,
    ROLLBACK,
    LogEntry,
    ReleaseLog,
    champion_entry,
    previous_version,
)


@dataclass(frozen=True)
class ReleaseState:
    """What a log and a registry agree on.

    Attributes:
        log: of the domain.
        entries: of the log, verified.
        aliases: of the model, as they are.
    """

    log: ReleaseLog
    entries: list[LogEntry]
    aliases: dict[str, int]

    @property
    def champion(self) -> LogEntry | None:
        """The entry that made the champion, or None."""
        return champion_entry(self.entries)

    def entry_of(self, version: int) -> LogEntry | None:
        """The newest entry that made a version the champion, or None."""
        return next((e for e in reversed(self.entries) if e.changes_champion and e.version == version), None)


def release_log_of(tags: Mapping[str, str], domain: str) -> ReleaseLog:
    """The log that the tags of a domain's model name.

    Raises:
        Refused: `unknown_version`: there is no model, or it was not made by `register`.
    """
    if LOG_TAG not in tags:
        raise Refused("unknown_version", f"the registry has no {model_name(domain)} with a release log")
    return ReleaseLog(Storage(tags[LOG_TAG]))


def read_release_state(registry: ModelRegistry, domain: str, *, repair: bool = False) -> ReleaseState:
    """Reads log and registry; what a promotion that died left undone in the registry is done.

    Args:
        registry: of the domain's model.
        domain: whose.
        repair: put aliases that were moved by hand back to what the log says.

    Raises:
        Refused: `unknown_version`: there is no model; `damaged_log`; `other_log`: the registry has seen entries that
            the log does not have; `alias_moved`.
    """
    tags = registry.model_tags(domain)
    log = release_log_of(tags, domain)
    entries = log.read()
    seen = _seen(tags.get(HEAD_TAG, ""), log, entries)
    if seen < len(entries) or repair:
        entries = mirror(registry, domain, log)
    standing = ReleaseState(log, entries, registry.aliases(domain))
    expect_aliases(standing, domain)
    return standing


def mirror(registry: ModelRegistry, domain: str, log: ReleaseLog) -> list[LogEntry]:
    """Brings aliases and tags to what the log says, however far it goes on meanwhile; gives its entries."""
    while True:
        entries = log.read()
        _mirror(registry, domain, entries, _seen(registry.model_tags(domain).get(HEAD_TAG, ""), log, entries))
        if log.count() == len(entries):
            return entries


def expected_aliases(entries: Sequence[LogEntry]) -> dict[str, int | None]:
    """`champion` and `previous` as a log says."""
    champion = champion_entry(entries)
    return {CHAMPION: champion.version if champion else None, PREVIOUS: previous_version(entries)}


def expect_aliases(standing: ReleaseState, domain: str) -> None:
    """Compares aliases with the log.

    Raises:
        Refused: `alias_moved`.
    """
    for alias, version in expected_aliases(standing.entries).items():
        if (found := standing.aliases.get(alias)) != version:
            raise Refused(
                "alias_moved",
                f"alias {alias} of {model_name(domain)} names {_words(found)}, the release log {standing.log.uri} says "
                f"{_words(version)}; `modit releases --domain {domain} --repair` puts it back",
            )


def _seen(head: str, log: ReleaseLog, entries: Sequence[LogEntry]) -> int:
    """How many entries the registry mirrors."""
    number, _, digest = head.partition(":")
    seen = int(number) if number.isdecimal() else 0
    if seen > len(entries):
        raise Refused("other_log", f"the registry has seen entry {seen}, {log.uri} has {len(entries)}")
    if seen and entries[seen - 1].digest != digest:
        raise Refused("other_log", f"entry {seen} of {log.uri} is not the one that the registry has seen")
    return seen


def _mirror(registry: ModelRegistry, domain: str, entries: Sequence[LogEntry], seen: int) -> None:
    """The tag of the newest entry comes last: while it is missing, all of this is done again."""
    aliases = registry.aliases(domain)
    for entry in entries[seen:]:
        _mark(registry, domain, entry)
        if aliases.get(ALIAS) == entry.version:
            registry.point_alias(domain, ALIAS, None)
    for alias, version in expected_aliases(entries).items():
        if aliases.get(alias) != version:
            registry.point_alias(domain, alias, version)
    if entries:
        registry.tag_model(domain, HEAD_TAG, f"{len(entries)}:{entries[-1].digest}")


def _mark(registry: ModelRegistry, domain: str, entry: LogEntry) -> None:
    if entry.action == ROLLBACK:
        return
    version = _version(registry, domain, entry)
    registry.tag_version(version, REVIEW_TAG, f"{entry.action} by {entry.who}, {entry.time}")
    if entry.action == OVERRIDE:
        mark = f"> **Promoted by override** by {entry.who}, {entry.time}, against its verdict: {entry.reason}"
        registry.tag_version(version, OVERRIDE_TAG, f"{entry.who}: {entry.reason}")
        if mark not in (card := registry.card(version)):
            registry.show_card(version, f"{mark}\n\n{card}")


def _version(registry: ModelRegistry, domain: str, entry: LogEntry) -> NamedVersion:
    try:
        return registry.version(domain, entry.version)
    except ConfigError as error:
        raise Refused("other_log", f"entry {entry.number} is about a version that is not there: {error}") from error


def _words(version: int | None) -> str:
    return "no version" if version is None else f"version {version}"


@dataclass(frozen=True)
class UnresolvedChampion:
    """A domain of which log and registry say different things.

    Attributes:
        domain: whose.
        error: what differs.
    """

    domain: str
    error: Exception


class ChampionResolver:
    """Asks again and again; a log is read only when something has changed since it was read last."""

    def __init__(self, registry: ModelRegistry, alias: str) -> None:
        """Args: `registry` to ask; where a promotion died before its aliases were moved, they are moved. `alias`
        that is wanted.
        """
        self._registry, self._alias = registry, alias
        self._known: dict[str, tuple[object, NamedVersion | None]] = {}

    def versions(self) -> list[NamedVersion | UnresolvedChampion]:
        """Those that bear the alias. `champion` and `previous` are the log's to give; others are the registry's own."""
        found = [self._version(domain) for domain in self._registry.domains()]
        return [each for each in found if each is not None]

    def _version(self, domain: str) -> NamedVersion | UnresolvedChampion | None:
        if self._alias not in (CHAMPION, PREVIOUS):
            return self._registry.named_version(domain, self._alias)
        try:
            tags = self._registry.model_tags(domain)
            seen = (tags, self._registry.aliases(domain), release_log_of(tags, domain).count())
            before, version = self._known.get(domain, (None, None))
            if seen != before:
                version = resolve_version(self._registry, domain, self._alias)
                self._known[domain] = (seen, version)
            return version
        except (ModitError, OSError) as error:  # of one domain; the others go on
            return UnresolvedChampion(domain, error)


def resolve_version(registry: ModelRegistry, domain: str, alias: str) -> NamedVersion | None:
    """The version of a domain with one of the aliases that are the log's to give; None where it gave none.

    Args:
        registry: of the domain's model; where a promotion died before its aliases were moved, they are moved.
        domain: whose.
        alias: `champion` or `previous`.

    Raises:
        Refused: log and registry do not agree; what differs is named.
    """
    standing = read_release_state(registry, domain)
    number = standing.aliases.get(alias)
    if number is None:
        return None
    version, entry = registry.version(domain, number), standing.entry_of(number)
    if entry is None or version.tags.get("bundle_digest") != entry.bundle_digest:
        promoted = entry.bundle_digest if entry else "nothing"
        bundle = version.tags.get("bundle_digest")
        raise Refused("broken_bundle", f"tag bundle_digest of {version.label} is {bundle}, promoted was {promoted}")
    return replace(version, alias=alias)
