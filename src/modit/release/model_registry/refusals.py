"""Why a promotion is refused: a name that programs can rely on, and a sentence for people."""

from __future__ import annotations

from typing import Final

from modit.core.errors import ModitError

NAMES: Final = {
    "not_passed": "The verdict on the domain is not PASS.",
    "other_verdict": "The given verdict digest is not that of the version.",
    "broken_bundle": "A file of the bundle is missing, damaged, edited or replaced, or a canary answers differently.",
    "other_space": "The embeddings are of another space than the champion's.",
    "stale_verdict": "The verdict was judged against another champion than today's.",
    "old_interval": "The data ends before the champion's.",
    "held_back": "The version is a backfill's, or its window was not the newest when it was registered.",
    "rejected": "A person rejected the version. A timed-out review does not block a later approval.",
    "is_champion": "The version is the champion.",
    "approval_used": "The approval was used before.",
    "approval_expired": "The approval is too old, or its time lies in the future.",
    "no_name": "The order does not name who gives it.",
    "no_reason": "The order has no reason.",
    "lease_expired": "The promotion took longer than its lease, and another one took the lease.",
    "concurrent_promotion": "Another promotion came first.",
    "unknown_version": "The registry has no such version.",
    "never_champion": "A rollback can only go to a version that was the champion before.",
    "no_previous": "There is no earlier champion to go back to.",
    "damaged_log": "An entry of the release log is missing or was edited.",
    "other_log": "The registry has seen entries that the log does not have.",
    "alias_moved": "An alias of the registry was moved by hand.",
}


class Refused(ModitError):
    """A promotion, or answering from a version, is refused: one of `NAMES`, and a sentence with what differs."""

    def __init__(self, name: str, sentence: str) -> None:
        super().__init__(f"refused ({name}): {sentence}")
        assert name in NAMES, name
        self.name = name
