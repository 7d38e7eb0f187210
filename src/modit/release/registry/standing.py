"""What is promoted of a domain: the release log, the registry's mirror of it, and whether the two agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modit.core.errors import ConfigError
from modit.core.storage import Storage
from modit.release.registry.model_version import (
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
from modit.release.registry.refusals import Refused
from modit.release.registry.release_log import OVERRIDE, ROLLBACK, Entry, ReleaseLog, champion_entry, previous_version


@dataclass(frozen=True)
class Standing:
    """What a log and a registry agree on.

    Attributes:
        log: of the domain.
        entries: of the log, verified.
        aliases: of the model, as they are.
    """

    log: ReleaseLog
    entries: list[Entry]
    aliases: dict[str, int]

    @property
    def champion(self) -> Entry | None:
        """The entry that made the champion, or None."""
        return champion_entry(self.entries)

    def entry_of(self, version: int) -> Entry | None:
        """The newest entry that made a version the champion, or None."""
        return next((each for each in reversed(self.entries) if each.moves and each.version == version), None)


def log_of(tags: Mapping[str, str], domain: str) -> ReleaseLog:
    """The log that the tags of a domain's model name.

    Raises:
        Refused: `unknown_version`: there is no model, or it was not made by `register`.
    """
    if LOG_TAG not in tags:
        raise Refused("unknown_version", f"the registry has no {model_name(domain)} with a release log")
    return ReleaseLog(Storage(tags[LOG_TAG]))


def standing_of(registry: ModelRegistry, domain: str, *, repair: bool = False) -> Standing:
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
    log = log_of(tags, domain)
    entries = log.read()
    seen = _seen(tags.get(HEAD_TAG, ""), log, entries)
    if seen < len(entries) or repair:
        entries = mirror(registry, domain, log)
    standing = Standing(log, entries, registry.aliases(domain))
    expect_aliases(standing, domain)
    return standing


def mirror(registry: ModelRegistry, domain: str, log: ReleaseLog) -> list[Entry]:
    """Brings aliases and tags to what the log says, however far it goes on meanwhile; gives its entries."""
    while True:
        entries = log.read()
        _mirror(registry, domain, entries, _seen(registry.model_tags(domain).get(HEAD_TAG, ""), log, entries))
        if log.count() == len(entries):
            return entries


def expected_aliases(entries: Sequence[Entry]) -> dict[str, int | None]:
    """`champion` and `previous` as a log says."""
    champion = champion_entry(entries)
    return {CHAMPION: champion.version if champion else None, PREVIOUS: previous_version(entries)}


def expect_aliases(standing: Standing, domain: str) -> None:
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


def _seen(head: str, log: ReleaseLog, entries: Sequence[Entry]) -> int:
    """How many entries the registry mirrors."""
    number, _, digest = head.partition(":")
    seen = int(number) if number.isdecimal() else 0
    if seen > len(entries):
        raise Refused("other_log", f"the registry has seen entry {seen}, {log.uri} has {len(entries)}")
    if seen and entries[seen - 1].digest != digest:
        raise Refused("other_log", f"entry {seen} of {log.uri} is not the one that the registry has seen")
    return seen


def _mirror(registry: ModelRegistry, domain: str, entries: Sequence[Entry], seen: int) -> None:
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


def _mark(registry: ModelRegistry, domain: str, entry: Entry) -> None:
    if entry.action == ROLLBACK:
        return
    version = _version(registry, domain, entry)
    registry.tag_version(version, REVIEW_TAG, f"{entry.action} by {entry.who}, {entry.time}")
    if entry.action == OVERRIDE:
        mark = f"> **Promoted by override** by {entry.who}, {entry.time}, against its verdict: {entry.reason}"
        registry.tag_version(version, OVERRIDE_TAG, f"{entry.who}: {entry.reason}")
        if mark not in (card := registry.card(version)):
            registry.show_card(version, f"{mark}\n\n{card}")


def _version(registry: ModelRegistry, domain: str, entry: Entry) -> NamedVersion:
    try:
        return registry.version(domain, entry.version)
    except ConfigError as error:
        raise Refused("other_log", f"entry {entry.number} is about a version that is not there: {error}") from error


def _words(version: int | None) -> str:
    return "no version" if version is None else f"version {version}"
