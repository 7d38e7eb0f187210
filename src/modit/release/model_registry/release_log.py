"""The release log of a domain: who made which version the champion, when and why. It is append-only.

Each entry is a numbered file that exactly one of several writers can create, and holds the digest of the entry before
it. The log decides what is promoted; the aliases of the registry mirror it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from pydantic import with_config

from modit.core.errors import ArtifactError, ConfigError
from modit.core.storage import Storage, digest_of
from modit.release.documents import STRICT, parse_document
from modit.release.model_registry.refusals import Refused

LOG_FOLDER = ".releases"
APPROVE, OVERRIDE, AUTO, ROLLBACK, REJECT = "approve", "override", "auto", "rollback", "reject"
CONFIGURATION, TIMEOUT = "configuration", "timeout"  # a timeout is a review that nobody answered
SOURCES = ("cli", "airflow", CONFIGURATION, TIMEOUT)
START = "0" * 64
_FILE = re.compile(r"(\d{8})\.json")


@with_config(STRICT)
@dataclass(frozen=True)
class Approval:
    """Where an order came from.

    Attributes:
        source: One of `SOURCES`.
        id: Of the approval, valid once; empty for a person at the command line.
        given: When, ISO 8601, or empty.
    """

    source: str = "cli"
    id: str = ""
    given: str = ""


def parse_approval(text: str, given: str = "") -> Approval:
    """Reads `SOURCE:ID`, such as `airflow:RUN/TASK`; an id without a source is from the command line.

    Raises:
        ConfigError: `given` is neither empty nor a time, ISO 8601.
    """
    source = text.partition(":")[0]
    if given:
        try:
            moment = datetime.fromisoformat(given)
        except ValueError as error:
            raise ConfigError(f"--approved-at {given!r}: allowed: a time such as 2026-01-31T06:00:00+00:00") from error
        given = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()
    return Approval(source if source in SOURCES else SOURCES[0], text, given)


@with_config(STRICT)
@dataclass(frozen=True)
class LogEntry:
    """An entry of the log.

    Attributes:
        number: From 1, without gaps.
        time: When, ISO 8601 in UTC.
        who: Ordered it.
        action: approve, override, auto, rollback or reject.
        version: The version that it is about; so are the digests and `window`, the days of its data.
        champion_before: Version that was the champion, or None.
        champion_after: Version that is the champion from then on, or None.
        reason: As the person who ordered it wrote it; may be empty for an approval.
        approval: Where the order came from.
        before: Digest of the entry before, zeros for the first.
    """

    number: int
    time: str
    who: str
    action: str
    version: int
    champion_before: int | None
    champion_after: int | None
    verdict_digest: str
    bundle_digest: str
    window: dict[str, str] | None
    reason: str
    approval: Approval = field(default_factory=Approval)
    before: str = START

    @property
    def digest(self) -> str:
        """sha256 over all fields."""
        return digest_of(asdict(self))

    @property
    def by_timeout(self) -> bool:
        """Whether it is the rejection by a review that nobody answered in time."""
        return self.action == REJECT and self.approval.source == TIMEOUT

    @property
    def changes_champion(self) -> bool:
        """Whether its version is the champion from then on."""
        return self.action != REJECT

    def as_json(self) -> dict[str, Any]:
        """As it is written, with its digest."""
        return asdict(self) | {"digest": self.digest}


class ReleaseLog:
    """The log of one domain, in a folder of its own."""

    def __init__(self, place: Storage) -> None:
        self.place = place

    @classmethod
    def beside(cls, run_uri: str, domain: str) -> ReleaseLog:
        """The log of a domain for all runs of a folder."""
        return cls(Storage(run_uri).parent.at(LOG_FOLDER, domain))

    @property
    def uri(self) -> str:
        """Its address."""
        return self.place.uri

    def count(self) -> int:
        """Number of the newest entry, by the names of files; 0 without one."""
        return max(self._numbers(), default=0)

    def read(self) -> list[LogEntry]:
        """All entries, verified.

        Raises:
            Refused: `damaged_log`: an entry is missing, edited, or does not follow the one before it; it is named.
        """
        numbers, entries, before = self._numbers(), list[LogEntry](), START
        for number in range(1, max(numbers, default=0) + 1):
            if number not in numbers:
                raise Refused("damaged_log", f"{self.uri} lacks entry {number}, though it has {max(numbers)}")
            entry = self._read(number)
            if entry.before != before:
                raise Refused("damaged_log", f"{self._address(number)} does not follow the entry before it")
            entries.append(entry)
            before = entry.digest
        return entries

    def append(self, entry: LogEntry) -> None:
        """Adds an entry after those that its writer knew.

        Raises:
            Refused: `concurrent_promotion`: another writer added one with this number.
        """
        if self.place.create_json(_name(entry.number), entry.as_json()):
            return
        existing = self._read(entry.number)
        if existing != entry:  # equal where the store's answer was lost, and the client asked again
            raise Refused(
                "concurrent_promotion",
                f"entry {entry.number} is by {existing.who}: {existing.action} of version {existing.version} at "
                f"{existing.time}; look at what it changed and order again",
            )

    def _numbers(self) -> set[int]:
        return {int(found[1]) for name in self.place.sizes() if (found := _FILE.fullmatch(name))}

    def _address(self, number: int) -> str:
        return f"{self.uri}/{_name(number)}"

    def _read(self, number: int) -> LogEntry:
        try:
            content = self.place.read_json(_name(number)) or {}
            stated = content.pop("digest", None)
            entry = parse_document(content, LogEntry, self._address(number))
        except ArtifactError as error:
            raise Refused("damaged_log", str(error)) from error
        if entry.number != number or entry.digest != stated:
            raise Refused("damaged_log", f"{self._address(number)} was edited: its digest is not the stated one")
        return entry


def champion_entry(entries: Sequence[LogEntry]) -> LogEntry | None:
    """The entry that made the present champion, or None."""
    return next((entry for entry in reversed(entries) if entry.changes_champion), None)


def previous_version(entries: Sequence[LogEntry]) -> int | None:
    """The version that a rollback goes to: the champion before, without those that were rolled back from."""
    line: list[int] = []
    for entry in entries:
        if entry.action == ROLLBACK and entry.version in line:
            del line[line.index(entry.version) + 1 :]
        elif entry.changes_champion:
            line.append(entry.version)
    return line[-2] if len(line) > 1 else None


def following(entries: Sequence[LogEntry], entry: LogEntry) -> LogEntry:
    """An entry with number, champion before and digest before as they must be after these entries."""
    champion = champion_entry(entries)
    version = champion.version if champion else None
    return replace(
        entry,
        number=len(entries) + 1,
        champion_before=version,
        champion_after=entry.version if entry.changes_champion else version,
        before=entries[-1].digest if entries else START,
    )


def _name(number: int) -> str:
    return f"{number:08d}.json"
