"""What is promoted of each domain: the release log, and the registry's aliases that mirror it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from modit.core.errors import ConfigError, ModitError
from modit.core.storage import Storage
from modit.release.model_registry.mlflow_registry import MlflowRegistry
from modit.release.model_registry.model_version import (
    ALIAS,
    CHAMPION,
    HEAD_TAG,
    LOG_TAG,
    OVERRIDE_TAG,
    PREVIOUS,
    REVIEW_TAG,
    NamedVersion,
    model_name,
)
from modit.release.model_registry.refusals import Refused
from modit.release.model_registry.release_log import (
    OVERRIDE,
    ROLLBACK,
    LogEntry,
    ReleaseLog,
    champion_entry,
    previous_version,
)


@dataclass(frozen=True)
class ReleaseState:
    """What the log and the registry agree on: the verified entries, and the version of each alias."""

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
    """The log that the tags of a domain's model name; refused (`unknown_version`) where there is no such model."""
    if LOG_TAG not in tags:
        raise Refused("unknown_version", f"the registry has no {model_name(domain)} with a release log")
    return ReleaseLog(Storage(tags[LOG_TAG]))


def read_release_state(registry: MlflowRegistry, domain: str, *, repair: bool = False) -> ReleaseState:
    """Reads log and registry, and finishes in the registry what an interrupted promotion left undone.

    With `repair`, aliases that were moved by hand are set to those of the log.

    Raises:
        Refused: `unknown_version`: there is no model; `damaged_log`; `other_log`: the registry has seen entries that
            the log does not have; `alias_moved`.
    """
    tags = registry.model_tags(domain)
    log = release_log_of(tags, domain)
    entries = log.read()
    if repair or _mirrored(tags.get(HEAD_TAG, ""), log, entries) < len(entries):
        entries = mirror(registry, domain, log)
    state = ReleaseState(entries, registry.aliases(domain))
    for alias, version in _aliases_of(entries).items():
        if (found := state.aliases.get(alias)) != version:
            raise Refused(
                "alias_moved",
                f"alias {alias} of {model_name(domain)} names {_words(found)}, the release log {log.uri} says "
                f"{_words(version)}; `modit releases --domain {domain} --repair` puts it back",
            )
    return state


def mirror(registry: MlflowRegistry, domain: str, log: ReleaseLog) -> list[LogEntry]:
    """Brings aliases and tags to what the log says, until it has no newer entry; gives the log's entries."""
    while True:
        entries = log.read()
        mirrored = _mirrored(registry.model_tags(domain).get(HEAD_TAG, ""), log, entries)
        _mirror(registry, domain, entries, mirrored)
        if log.count() == len(entries):
            return entries


def _aliases_of(entries: Sequence[LogEntry]) -> dict[str, int | None]:
    champion = champion_entry(entries)
    return {CHAMPION: champion.version if champion else None, PREVIOUS: previous_version(entries)}


def _mirrored(head: str, log: ReleaseLog, entries: Sequence[LogEntry]) -> int:
    """How many entries the registry mirrors."""
    number, _, digest = head.partition(":")
    seen = int(number) if number.isdecimal() else 0
    if seen > len(entries):
        raise Refused("other_log", f"the registry has seen entry {seen}, {log.uri} has {len(entries)}")
    if seen and entries[seen - 1].digest != digest:
        raise Refused("other_log", f"entry {seen} of {log.uri} is not the one that the registry has seen")
    return seen


def _mirror(registry: MlflowRegistry, domain: str, entries: Sequence[LogEntry], mirrored: int) -> None:
    """Writes the tag of the newest entry last: while it is missing, all of this is done again."""
    aliases = registry.aliases(domain)
    for entry in entries[mirrored:]:
        _tag_version(registry, domain, entry)
        if aliases.get(ALIAS) == entry.version:
            registry.point_alias(domain, ALIAS, None)
    for alias, version in _aliases_of(entries).items():
        if aliases.get(alias) != version:
            registry.point_alias(domain, alias, version)
    if entries:
        registry.tag_model(domain, HEAD_TAG, f"{len(entries)}:{entries[-1].digest}")


def _tag_version(registry: MlflowRegistry, domain: str, entry: LogEntry) -> None:
    if entry.action == ROLLBACK:
        return
    try:
        version = registry.version(domain, entry.version)
    except ConfigError as error:
        raise Refused("other_log", f"entry {entry.number} is about a version that does not exist: {error}") from error
    registry.tag_version(version, REVIEW_TAG, f"{entry.action} by {entry.who}, {entry.time}")
    if entry.action == OVERRIDE:
        mark = f"> **Promoted by override** by {entry.who}, {entry.time}, against its verdict: {entry.reason}"
        registry.tag_version(version, OVERRIDE_TAG, f"{entry.who}: {entry.reason}")
        if mark not in (card := registry.card(version)):
            registry.show_card(version, f"{mark}\n\n{card}")


def _words(version: int | None) -> str:
    return "no version" if version is None else f"version {version}"


@dataclass(frozen=True)
class UnresolvedChampion:
    """A domain whose log and registry contradict each other, and how."""

    domain: str
    error: Exception


class ChampionResolver:
    """Names the version of each domain that a service may answer from.

    A domain's log is read only after something has changed.
    """

    def __init__(self, registry: MlflowRegistry, alias: str) -> None:
        """Prepares; nothing is read yet. The log gives `champion` and `previous`, the registry every other alias."""
        self._registry, self._alias = registry, alias
        self._known: dict[str, tuple[object, NamedVersion | None]] = {}

    def versions(self) -> list[NamedVersion | UnresolvedChampion]:
        """The versions with the alias, and the domains that cannot be resolved."""
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
        except (ModitError, OSError) as error:  # the other domains go on
            return UnresolvedChampion(domain, error)


def resolve_version(registry: MlflowRegistry, domain: str, alias: str) -> NamedVersion | None:
    """The version of a domain that the log gives the alias `champion` or `previous`; None where it gave it to none.

    Raises:
        Refused: Log and registry contradict each other; the difference is named.
    """
    state = read_release_state(registry, domain)
    number = state.aliases.get(alias)
    if number is None:
        return None
    version, entry = registry.version(domain, number), state.entry_of(number)
    bundle, promoted = version.tags.get("bundle_digest"), entry.bundle_digest if entry else "nothing"
    if bundle != promoted:
        raise Refused("broken_bundle", f"tag bundle_digest of {version.label} is {bundle}, promoted was {promoted}")
    return replace(version, alias=alias)
