"""The conditions under which a version becomes the champion.

Each function raises `Refused`, under the name in brackets, where its condition does not hold.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from modit.core.artifacts import ArtifactStore
from modit.core.errors import ModitError
from modit.core.storage import Storage
from modit.release.bundle.bundle import SPACE_FILE, Bundle, expect_part
from modit.release.bundle.embedding_space import Space
from modit.release.bundle.loading import load_release, open_bundle
from modit.release.bundle.release import ReleaseSource, SeedsRelease
from modit.release.documents import Json, read_strictly
from modit.release.kinds import REPORT, VERDICT
from modit.release.model_registry.mlflow_registry import MlflowRegistry
from modit.release.model_registry.model_version import NamedVersion
from modit.release.model_registry.refusals import Refused
from modit.release.model_registry.release_log import REJECT, Approval, LogEntry
from modit.release.model_registry.release_state import ReleaseState
from modit.release.verdict import PASS, VERDICT_FILE

APPROVAL_HOURS = 24.0
_CLOCKS_APART = timedelta(minutes=5)


@dataclass(frozen=True)
class VerifiedBundle:
    """A bundle that was loaded and answered its canaries, with the domain's part of its verdict.

    `space` is None of a kind whose callers send no vectors.
    """

    bundle: Bundle
    space: Space | None
    judged: Json


def check_bundle(version: NamedVersion) -> VerifiedBundle:
    """Refuses (`broken_bundle`) what does not load as the service loads it, verdict and report included."""
    try:
        source = ReleaseSource.of(version)
        release = load_release(source)
        with tempfile.TemporaryDirectory(prefix="modit-") as folder:
            store = ArtifactStore(Storage(source.run_uri), Path(folder))
            verdict = read_strictly(expect_part(store, release.bundle.parts[VERDICT]) / VERDICT_FILE)
    except (ModitError, OSError) as error:
        raise Refused("broken_bundle", f"{version.label}: {error}") from error
    for name, file in ((VERDICT, VERDICT_FILE), (REPORT, source.kind.report_file)):
        tag = f"{name}_digest"
        if version.tags.get(tag) != (found := release.bundle.parts[name].files[file]):
            raise Refused(
                "broken_bundle", f"tag {tag} of {version.label} is {version.tags.get(tag)}, {file} is {found}"
            )
    space = release.space if isinstance(release, SeedsRelease) else None
    return VerifiedBundle(release.bundle, space, verdict["domains"][version.domain])


def check_verdict_digest(version: NamedVersion, given: str) -> None:
    """Refuses (`other_verdict`) a digest that is not that of the version's verdict."""
    registered = version.tags.get("verdict_digest")
    if given != registered:
        raise Refused("other_verdict", f"given is {given}; that of {version.label} is {registered}")


def check_not_held_back(version: NamedVersion) -> None:
    """Refuses (`held_back`) a version that registration held back."""
    if held_back := version.tags.get("held_back"):
        raise Refused("held_back", f"{version.label}: {held_back}")


def check_passed(version: NamedVersion, verified: VerifiedBundle) -> None:
    """Refuses (`not_passed`) a version whose domain did not pass."""
    if (status := verified.judged["status"]) != PASS:
        reasons = " ".join(verified.judged["reasons"])
        raise Refused("not_passed", f"the verdict on {version.label} is {status}: {reasons} (see `modit override`)")


def check_not_rejected(version: NamedVersion, state: ReleaseState) -> None:
    """Refuses (`rejected`) what a person rejected. A timed-out review does not block a later approval."""
    for entry in reversed(state.entries):
        if entry.version == version.version and entry.action == REJECT and not entry.by_timeout:
            raise Refused("rejected", f"{version.label} was rejected by {entry.who}: {entry.reason}")


def check_not_champion(version: NamedVersion, state: ReleaseState, hint: str = "") -> None:
    """Refuses (`is_champion`) the version that is the champion already."""
    champion = state.champion
    if champion and champion.version == version.version:
        raise Refused("is_champion", f"{version.label} is the champion since entry {champion.number}{hint}")


def check_against_champion(version: NamedVersion, verified: VerifiedBundle, state: ReleaseState) -> None:
    """Refuses today's champion itself (`is_champion`), a verdict against another one (`stale_verdict`), and older data.

    Older data (`old_interval`) ends before the champion's.
    """
    check_not_champion(version, state)
    champion = state.champion
    judged = (verified.judged.get("champion") or {}).get("version")
    today = champion.version if champion else None
    if (None if judged is None else int(judged)) != today:
        against, now = (f"version {number}" if number else "no champion" for number in (judged, today))
        raise Refused("stale_verdict", f"{version.label} was judged against {against}, today's champion is {now}")
    window = verified.bundle.window
    if champion and champion.window and (window is None or window["end"] < champion.window["end"]):
        ends = f"ends {window['end']}" if window else "has no days"
        raise Refused(
            "old_interval",
            f"the data of {version.label} {ends}, the champion's (version {champion.version}) ends "
            f"{champion.window['end']}",
        )


def check_space(version: NamedVersion, verified: VerifiedBundle, state: ReleaseState, registry: MlflowRegistry) -> None:
    """Refuses (`other_space`) other embeddings than the champion's: callers who send vectors would get other items."""
    if state.champion is None or verified.space is None:
        return
    champion = registry.version(version.domain, state.champion.version)
    try:
        with tempfile.TemporaryDirectory(prefix="modit-") as folder:
            source = ReleaseSource.of(champion)
            own, _ = open_bundle(ArtifactStore(Storage(source.run_uri), Path(folder)), source)
            difference = Space.load(own / SPACE_FILE).difference(verified.space)
    except ModitError as error:
        difference = f"the champion's cannot be read: {error}"
    if difference:
        raise Refused("other_space", f"{version.label} and the champion, version {champion.version}: {difference}")


def check_approval(approval: Approval, entries: Sequence[LogEntry], hours: float) -> None:
    """Refuses an approval that was used before (`approval_used`), or is too old (`approval_expired`)."""
    used = next((each for each in entries if approval.id and each.approval.id == approval.id), None)
    if used:
        raise Refused(
            "approval_used", f"approval {approval.id} was used for entry {used.number}, version {used.version}"
        )
    if approval.given:
        age = datetime.now(UTC) - datetime.fromisoformat(approval.given)
        if not -_CLOCKS_APART <= age <= timedelta(hours=hours):
            raise Refused("approval_expired", f"it was given {approval.given}; allowed: within the last {hours:g} h")
