"""Why a promotion is refused: a name that programs can rely on, and a sentence for people."""

from __future__ import annotations

from typing import Final

from modit.core.errors import ModitError

NAMES: Final = {
    "not_passed": "the verdict on the domain is not PASS",
    "other_verdict": "the verdict digest that was given is not that of the version",
    "broken_bundle": "a file of the bundle is missing, damaged, edited or another one, or a canary answers differently",
    "other_space": "the embeddings are of another space than the champion's",
    "stale_verdict": "the verdict was judged against another champion than today's",
    "old_interval": "the data ends before the champion's",
    "held_back": "the version is a backfill's, or its window was not the newest when it was registered",
    "rejected": "a person rejected the version; a review that nobody answered does not count",
    "is_champion": "the version is the champion",
    "approval_used": "the approval was used before",
    "approval_expired": "the approval is too old, or of the future",
    "no_name": "nobody is named who orders it",
    "no_reason": "no reason is given",
    "lease_expired": "the promotion took longer than its lease, and another one took it",
    "concurrent_promotion": "another promotion came first",
    "unknown_version": "the registry has no such version",
    "never_champion": "a rollback goes to a version that was the champion",
    "no_previous": "there is no champion to go back to",
    "damaged_log": "the release log lacks an entry, or one was edited",
    "other_log": "the registry knows of entries that the log does not have, or of others",
    "alias_moved": "an alias of the registry was moved by hand",
}


class Refused(ModitError):
    """A promotion, or answering from a version, is refused.

    Attributes:
        name: one of `NAMES`.
    """

    def __init__(self, name: str, sentence: str) -> None:
        """Args: `name` one of `NAMES`; `sentence` with the values that differ."""
        super().__init__(f"refused ({name}): {sentence}")
        assert name in NAMES, name
        self.name = name
