"""Promotion: approve, override, reject and roll back. Each is one entry of the release log, and the log decides.

A lease keeps others from starting meanwhile; the entry itself is the compare-and-swap, since exactly one writer can
make the file with the next number. The registry's aliases follow, and whoever comes next finishes what a crash left
undone.
"""

from __future__ import annotations

import contextlib
import os
import socket
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from modit.core.artifacts import seal
from modit.core.errors import ConfigError, RunBusyError
from modit.core.locks import Lease
from modit.core.storage import Storage
from modit.release.promotion.conditions import (
    APPROVAL_HOURS,
    check_against_champion,
    check_approval,
    check_bundle,
    check_held_back,
    check_passed,
    check_rejected,
    check_space,
    check_verdict_digest,
)
from modit.release.promotion.model_version import ModelRegistry, NamedVersion, model_name
from modit.release.promotion.refusals import Refused
from modit.release.promotion.release_log import (
    APPROVE,
    AUTO,
    OVERRIDE,
    REJECT,
    ROLLBACK,
    TIMEOUT,
    Approval,
    LogEntry,
    ReleaseLog,
    following,
)
from modit.release.promotion.release_state import ReleaseState, mirror, read_release_state, release_log_of

LEASE_SECONDS = 120.0


@dataclass(frozen=True)
class Order:
    """What somebody wants.

    Attributes:
        action: one of the actions of the release log.
        domain: of the model.
        who: orders it.
        version: that is meant; None of a rollback means the champion before.
        verdict: sha256 of the `verdict.json` that was looked at; empty for a rollback.
        reason: in words.
        approval: where the order comes from.
    """

    action: str
    domain: str
    who: str
    version: int | None = None
    verdict: str = ""
    reason: str = ""
    approval: Approval = field(default_factory=Approval)


def carry_out(
    registry: ModelRegistry,
    order: Order,
    *,
    lease_seconds: float = LEASE_SECONDS,
    approval_hours: float = APPROVAL_HOURS,
) -> LogEntry:
    """Checks an order, adds it to the release log, and brings the aliases to what the log says.

    The same order again, by its approval, gives the entry that it made; a rejection by timeout gives the newest entry
    about its version, if there is one.

    Args:
        registry: of the model.
        order: what to do.
        lease_seconds: until the lease of a promotion that died is free.
        approval_hours: how old an approval may be.

    Returns:
        The entry.

    Raises:
        Refused: a condition does not hold; it is named.
        RunBusyError: another promotion of the domain is going on.
    """
    _expect_words(order)
    log = release_log_of(registry.model_tags(order.domain), order.domain)
    with _leased(log, order, lease_seconds) as lease:
        state = read_release_state(registry, order.domain)
        if done := _done_already(order, state):
            return done
        check_approval(order.approval, state.entries, approval_hours)
        version = _version(registry, order, state)
        entry = following(state.entries, _entry(registry, order, version, state))
        try:
            lease.expect_held()
        except RunBusyError as error:
            raise Refused("lease_expired", str(error)) from error
        if entry.changes_champion:
            # Before the entry: a champion's run must not be open for a moment. Whoever loses the race leaves it sealed.
            reason = f"{version.label} was promoted from it, or was about to be"
            seal(Storage(version.tags["run_uri"]), order.domain, reason)
        log.append(entry)
        mirror(registry, order.domain, log)
    return entry


@contextlib.contextmanager
def _leased(log: ReleaseLog, order: Order, seconds: float) -> Iterator[Lease]:
    holder = f"{order.who} (process {os.getpid()} on {socket.gethostname()}, {uuid.uuid4().hex[:8]})"
    doing = f"promoting {model_name(order.domain)}"
    lease = Lease(log.place.at(".lease"), holder, doing, seconds)
    try:
        with lease.held():
            yield lease
    finally:
        lease.release()


def _expect_words(order: Order) -> None:
    if not order.who.strip():
        raise Refused("no_name", f"{order.action} needs the name of who orders it")
    if order.action not in (APPROVE, AUTO) and not order.reason.strip():
        raise Refused("no_reason", f"{order.action} needs a reason")


def _done_already(order: Order, state: ReleaseState) -> LogEntry | None:
    """The newest entry, if this very order made it: a task that is tried again.

    For a rejection by timeout, the newest entry about its version: what was decided elsewhere meanwhile stays.
    """
    if order.action == REJECT and order.approval.source == TIMEOUT:
        return next((each for each in reversed(state.entries) if each.version == order.version), None)
    newest = state.entries[-1] if state.entries else None
    if newest is None or not order.approval.id or newest.approval.id != order.approval.id:
        return None
    same = (newest.action, newest.version) == (order.action, order.version) and (
        order.action == ROLLBACK or newest.verdict_digest == order.verdict
    )
    return newest if same else None


def _version(registry: ModelRegistry, order: Order, state: ReleaseState) -> NamedVersion:
    number = order.version
    if number is None:
        number = state.aliases.get("previous")
    if number is None:
        raise Refused("no_previous", f"{model_name(order.domain)} has no champion before the present one")
    try:
        return registry.version(order.domain, number)
    except ConfigError as error:
        raise Refused("unknown_version", str(error)) from error


def _entry(registry: ModelRegistry, order: Order, version: NamedVersion, state: ReleaseState) -> LogEntry:
    """The entry to add, after all that its action asks for."""
    if order.action == ROLLBACK:
        digests, window = _check_rollback(version, state)
    elif order.action == REJECT:
        digests, window = _check_rejection(version, order, state), None
    else:
        digests, window = _check_promotion(registry, version, order, state)
    verdict_digest, bundle_digest = digests
    return LogEntry(
        number=0,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        who=order.who,
        action=order.action,
        version=version.version,
        champion_before=None,
        champion_after=None,
        verdict_digest=verdict_digest,
        bundle_digest=bundle_digest,
        window=window,
        reason=order.reason,
        approval=order.approval,
    )


def _check_promotion(
    registry: ModelRegistry, version: NamedVersion, order: Order, state: ReleaseState
) -> tuple[tuple[str, str], dict[str, str] | None]:
    check_verdict_digest(version, order.verdict)
    checked = check_bundle(version)
    check_held_back(version)
    check_against_champion(version, checked, state)
    if order.action != OVERRIDE:  # a person with a reason may set aside what was judged, but not what is known
        check_passed(version, checked)
        check_rejected(version, state)
        check_space(version, checked, state, registry)
    return (checked.bundle.verdict_digest, checked.bundle.digest), checked.bundle.window


def _check_rejection(version: NamedVersion, order: Order, state: ReleaseState) -> tuple[str, str]:
    check_verdict_digest(version, order.verdict or version.tags.get("verdict_digest", ""))
    if state.champion and state.champion.version == version.version:
        raise Refused("is_champion", f"{version.label} is the champion; `modit rollback` takes it back")
    return version.tags.get("verdict_digest", ""), version.tags.get("bundle_digest", "")


def _check_rollback(version: NamedVersion, state: ReleaseState) -> tuple[tuple[str, str], dict[str, str] | None]:
    """The old bundle must answer before the pointer moves, and be the one that was promoted then."""
    then = state.entry_of(version.version)
    if then is None:
        raise Refused("never_champion", f"{version.label} never was the champion")
    if state.champion and state.champion.version == version.version:
        raise Refused("is_champion", f"{version.label} is the champion")
    checked = check_bundle(version)
    if checked.bundle.digest != then.bundle_digest:
        raise Refused(
            "broken_bundle", f"{version.label} is bundle {checked.bundle.digest}, promoted was {then.bundle_digest}"
        )
    return (checked.bundle.verdict_digest, checked.bundle.digest), checked.bundle.window
