"""Promotion: approve, override, reject and roll back. Each order becomes one entry of the release log.

A lease keeps others from starting meanwhile. The entry itself is the compare-and-swap: exactly one writer can create
the file with the next number. The registry's aliases follow; the next reader finishes what a crash left undone.
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
from modit.release.bundle.bundle import Bundle
from modit.release.model_registry.mlflow_registry import MlflowRegistry
from modit.release.model_registry.model_version import NamedVersion, model_name
from modit.release.model_registry.refusals import Refused
from modit.release.model_registry.release_log import (
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
from modit.release.model_registry.release_state import ReleaseState, mirror, read_release_state, release_log_of
from modit.release.promotion.conditions import (
    APPROVAL_HOURS,
    check_against_champion,
    check_approval,
    check_bundle,
    check_not_champion,
    check_not_held_back,
    check_not_rejected,
    check_passed,
    check_space,
    check_verdict_digest,
)

LEASE_SECONDS = 120.0


@dataclass(frozen=True)
class Order:
    """What a person or a DAG orders.

    Attributes:
        action: One of the actions of the release log.
        domain: Of the model.
        who: Orders it.
        version: None, of a rollback, means the champion before.
        verdict: sha256 of the `verdict.json` that was looked at; empty for a rollback.
        reason: In words.
        approval: Where the order comes from.
    """

    action: str
    domain: str
    who: str
    version: int | None = None
    verdict: str = ""
    reason: str = ""
    approval: Approval = field(default_factory=Approval)


def carry_out(
    registry: MlflowRegistry,
    order: Order,
    *,
    lease_seconds: float = LEASE_SECONDS,
    approval_hours: float = APPROVAL_HOURS,
) -> LogEntry:
    """Checks an order, adds it to the release log, and brings the aliases to what the log says; gives the new entry.

    The same order again, by its approval, gives the entry that it made. A rejection by timeout gives the newest entry
    about its version, if there is one.

    Args:
        registry: Of the model.
        order: What to do.
        lease_seconds: Time after which the lease of a promotion that died is free.
        approval_hours: Greatest age of an approval.

    Raises:
        Refused: A condition does not hold; it is named.
        RunBusyError: Another promotion of the domain is going on.
    """
    if not order.who.strip():
        raise Refused("no_name", f"{order.action} needs the name of who orders it")
    if order.action not in (APPROVE, AUTO) and not order.reason.strip():
        raise Refused("no_reason", f"{order.action} needs a reason")
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
            # Before the entry: a champion's run must never be open. A loser of the race leaves the run sealed.
            reason = f"{version.label} was promoted from it, or was about to be"
            seal(Storage(version.tags["run_uri"]), order.domain, reason)
        log.append(entry)
        mirror(registry, order.domain, log)
    return entry


@contextlib.contextmanager
def _leased(log: ReleaseLog, order: Order, seconds: float) -> Iterator[Lease]:
    holder = f"{order.who} (process {os.getpid()} on {socket.gethostname()}, {uuid.uuid4().hex[:8]})"
    lease = Lease(log.place.at(".lease"), holder, f"promoting {model_name(order.domain)}", seconds)
    try:
        with lease.held():
            yield lease
    finally:
        lease.release()


def _done_already(order: Order, state: ReleaseState) -> LogEntry | None:
    """The entry that this very order made, as when a task is tried again.

    For a rejection by timeout, the newest entry about its version: a decision that was made elsewhere stays.
    """
    if order.action == REJECT and order.approval.source == TIMEOUT:
        return next((each for each in reversed(state.entries) if each.version == order.version), None)
    newest = state.entries[-1] if state.entries else None
    if newest is None or not order.approval.id or newest.approval.id != order.approval.id:
        return None
    same = (newest.action, newest.version) == (order.action, order.version)
    return newest if same and (order.action == ROLLBACK or newest.verdict_digest == order.verdict) else None


def _version(registry: MlflowRegistry, order: Order, state: ReleaseState) -> NamedVersion:
    number = state.aliases.get("previous") if order.version is None else order.version
    if number is None:
        raise Refused("no_previous", f"{model_name(order.domain)} has no champion before the present one")
    try:
        return registry.version(order.domain, number)
    except ConfigError as error:
        raise Refused("unknown_version", str(error)) from error


def _entry(registry: MlflowRegistry, order: Order, version: NamedVersion, state: ReleaseState) -> LogEntry:
    """The entry to add, after the checks of its action."""
    if order.action == REJECT:
        check_verdict_digest(version, order.verdict or version.tags.get("verdict_digest", ""))
        check_not_champion(version, state, "; `modit rollback` takes it back")
        digests, window = (version.tags.get("verdict_digest", ""), version.tags.get("bundle_digest", "")), None
    else:
        check = _check_rollback if order.action == ROLLBACK else _check_promotion
        bundle = check(registry, version, order, state)
        digests, window = (bundle.verdict_digest, bundle.digest), bundle.window
    return LogEntry(
        number=0,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        who=order.who,
        action=order.action,
        version=version.version,
        champion_before=None,
        champion_after=None,
        verdict_digest=digests[0],
        bundle_digest=digests[1],
        window=window,
        reason=order.reason,
        approval=order.approval,
    )


def _check_promotion(registry: MlflowRegistry, version: NamedVersion, order: Order, state: ReleaseState) -> Bundle:
    check_verdict_digest(version, order.verdict)
    verified = check_bundle(version)
    check_not_held_back(version)
    check_against_champion(version, verified, state)
    if order.action != OVERRIDE:  # a person with a reason may overrule a judgement, but not a fact
        check_passed(version, verified)
        check_not_rejected(version, state)
        check_space(version, verified, state, registry)
    return verified.bundle


def _check_rollback(registry: MlflowRegistry, version: NamedVersion, order: Order, state: ReleaseState) -> Bundle:
    """The old bundle must answer before the pointer moves, and be the one that was promoted then."""
    then = state.entry_of(version.version)
    if then is None:
        raise Refused("never_champion", f"{version.label} never was the champion")
    check_not_champion(version, state)
    bundle = check_bundle(version).bundle
    if bundle.digest != then.bundle_digest:
        raise Refused("broken_bundle", f"{version.label} is bundle {bundle.digest}, promoted was {then.bundle_digest}")
    return bundle
