"""Ways to promote, or to serve, what should not be. Each does it to a world and gives what it was told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest

from modit.core.errors import ArtifactError, ConfigError, RunBusyError
from modit.core.lease import Lease
from modit.core.storage import digest_of
from modit.release.bundle.bundle import Bundle as BundleManifest
from modit.release.promotion import promotion
from modit.release.registry.agreement import Agreement, Disagreement
from modit.release.registry.model_version import parse_version
from modit.release.registry.release_log import Approval, Entry, following
from modit.release.registry.standing import standing_of
from tests.unit.release.world import DAY, World, write_again


class Attack(NamedTuple):
    """What is tried, the name of the refusal, and who tries it."""

    words: str
    name: str
    act: Callable[[World], str]


ATTACKS: list[Attack] = []


def attack(words: str, name: str) -> Callable[[Callable[[World], str]], Callable[[World], str]]:
    """Adds a function to the table."""

    def add(act: Callable[[World], str]) -> Callable[[World], str]:
        ATTACKS.append(Attack(words, name, act))
        return act

    return add


def tampered(words: str, act: Callable[[World, int], None]) -> None:
    """Approving a version whose files are no longer what was registered."""

    def approve(world: World) -> str:
        version = world.version()
        act(world, version)
        return world.refused("broken_bundle", world.approve, version)

    ATTACKS.append(Attack(words, "broken_bundle", approve))


def edit_json(path: Path, change: Callable[[dict], None], *, seal: bool = False) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    if seal:
        write_again(path)


def pass_it(world: World, version: int, *, seal: bool) -> None:
    def change(verdict: dict) -> None:
        verdict["domains"][world.domain] |= {"status": "PASS", "reasons": ["It is fine."]}

    edit_json(world.file(version, "verdict/verdict.json"), change, seal=seal)


def rebuild_bundle(world: World, version: int) -> None:
    """Makes a bundle anew around files that were tampered with; all of its digests agree with each other."""
    world.bundles[version].bind(world.domain)


def copy_artifact(world: World, version: int, name: str, **how: object) -> None:
    """Puts an artifact of another run, whole and sound, in place of the version's."""
    other = world.version(**how)
    target = world.file(version, name)
    shutil.rmtree(target)
    shutil.copytree(world.file(other, name), target)


# --- files of the version -------------------------------------------------------------------------------------------


@attack("the verdict is edited to PASS", "broken_bundle")
def edited_verdict(world: World) -> str:
    version = world.version(status="FAIL")
    pass_it(world, version, seal=False)
    return world.refused("broken_bundle", world.approve, version)


@attack("the verdict is edited to PASS, and the manifest beside it made to agree", "broken_bundle")
def sealed_verdict(world: World) -> str:
    version = world.version(status="FAIL")
    pass_it(world, version, seal=True)
    return world.refused("broken_bundle", world.approve, version)


@attack("the verdict is edited to PASS, manifest and bundle made anew around it", "broken_bundle")
def rebuilt_verdict(world: World) -> str:
    version = world.version(status="FAIL")
    pass_it(world, version, seal=True)
    rebuild_bundle(world, version)
    return world.refused("broken_bundle", world.approve, version)


@attack("the same, and its new digest is given with the order", "other_verdict")
def verdict_given(world: World) -> str:
    version = world.version(status="FAIL")
    pass_it(world, version, seal=True)
    rebuild_bundle(world, version)
    given = world.bundles[version].manifest(world.domain).verdict_digest
    return world.refused("other_verdict", world.approve, version, verdict=given)


@attack("the same, and the registry's tag verdict_digest is edited too", "broken_bundle")
def verdict_tagged(world: World) -> str:
    version = world.version(status="FAIL")
    pass_it(world, version, seal=True)
    rebuild_bundle(world, version)
    given = world.bundles[version].manifest(world.domain).verdict_digest
    world.tag(version, "verdict_digest", given)
    return world.refused("broken_bundle", world.approve, version, verdict=given)


def _edit_report(world: World, version: int) -> None:
    def change(report: dict) -> None:
        report["domains"][world.domain]["splits"]["item_holdout"]["rows"][0]["joint"] = 0.99

    edit_json(world.file(version, "report/report.json"), change, seal=True)


def _edit_card(world: World, version: int) -> None:
    path = world.file(version, "bundle/model_card.md")
    path.write_text(path.read_text().replace("PASS", "excellent"))
    write_again(path)


def _edit_manifest(world: World, version: int) -> None:
    path = world.file(version, "bundle/bundle.json")
    edit_json(path, lambda bundle: bundle["feature_service"].update(name="other"), seal=True)


def _seal_manifest(world: World, version: int) -> None:
    folder = world.file(version, "bundle/bundle.json").parent
    replace(BundleManifest.load(folder), feature_service={"name": "other", "digest": "0" * 64}).save(folder)
    write_again(folder / "bundle.json")


def _truncate(world: World, version: int) -> None:
    path = world.file(version, "sampler/sampler.onnx")
    path.write_bytes(path.read_bytes()[:-2000])


def _other_weights(world: World, version: int) -> None:
    path = world.file(version, "sampler/sampler.onnx")
    path.write_bytes(path.read_bytes() + b"\0")
    write_again(path)


def _wrong_ids(world: World, version: int) -> None:
    path = world.file(version, "catalog/items.parquet")
    table = pq.read_table(path)
    pq.write_table(table.set_column(0, "item_id", table["item_id"].combine_chunks()[::-1]), path)
    write_again(path)


def _wrong_index_ids(world: World, version: int) -> None:
    path = world.file(version, "index/item_ids.npy")
    np.save(path, np.load(path)[::-1])
    write_again(path)


def _other_space(world: World, version: int) -> None:
    path = world.file(version, "catalog/embeddings.npy")
    np.save(path, np.load(path)[:, ::-1])
    write_again(path)


def _edit_canaries(world: World, version: int) -> None:
    path = world.file(version, "bundle/canaries.json")
    content = json.loads(path.read_text())
    content[0]["items"].reverse()
    path.write_text(json.dumps(content))
    write_again(path)


def _lose_cases(world: World, version: int) -> None:
    world.file(version, "cases/item_holdout.npz").unlink()


tampered("the report is edited, and the manifest made to agree", _edit_report)
tampered("the model card is edited", _edit_card)
tampered("bundle.json names another feature service", _edit_manifest)
tampered("the same, with a digest that fits", _seal_manifest)
tampered("the ONNX file is cut short", _truncate)
tampered("the ONNX file is another one, and the manifest made to agree", _other_weights)
tampered("the index is that of another run, whole and sound", lambda w, v: copy_artifact(w, v, "index"))
tampered("the catalogue's ids are in another order than the index's", _wrong_ids)
tampered("the ids of the index are in another order", _wrong_index_ids)
tampered("the embeddings are of another space", _other_space)
tampered("the stored answers of a canary are edited", _edit_canaries)
tampered("evaluation cases are missing", _lose_cases)


@attack("a whole bundle of another space, registered and passed as it should be", "other_space")
def other_space(world: World) -> str:
    world.promoted()
    return world.refused("other_space", world.approve, world.version(seed=1))


# --- the verdict ----------------------------------------------------------------------------------------------------


@attack("the verdict is FAIL", "not_passed")
def failed(world: World) -> str:
    return world.refused("not_passed", world.approve, world.version(status="FAIL"))


@attack("the verdict is FAIL, and the registry's tag and alias are set as if it had passed", "not_passed")
def failed_challenger(world: World) -> str:
    version = world.version(status="FAIL")
    world.tag(version, "status", "passed")
    world.registry.point_alias(world.domain, "challenger", version)
    return world.refused("not_passed", world.approve, version)


@attack("the verdict that was looked at is another version's", "other_verdict")
def other_verdict(world: World) -> str:
    first, second = world.version(), world.version(status="FAIL")
    verdict = world.registry.version(world.domain, first).tags["verdict_digest"]
    return world.refused("other_verdict", world.approve, second, verdict=verdict)


@attack("the verdict is stale: it was judged against no champion, and there is one now", "stale_verdict")
def stale_first(world: World) -> str:
    first, second = world.version(), world.version()
    world.approve(first)
    return world.refused("stale_verdict", world.approve, second)


@attack("the verdict is stale: the champion that it was judged against was rolled back", "stale_verdict")
def stale_after_rollback(world: World) -> str:
    world.promoted()
    world.promoted()
    third = world.version()
    world.order("rollback")
    return world.refused("stale_verdict", world.approve, third)


@attack("an override of a stale verdict", "stale_verdict")
def stale_override(world: World) -> str:
    first, second = world.version(), world.version(status="FAIL")
    world.approve(first)
    return world.refused("stale_verdict", world.order, "override", second)


# --- the data -------------------------------------------------------------------------------------------------------


@attack("a backfill", "held_back")
def backfill(world: World) -> str:
    return world.refused("held_back", world.approve, world.version(held_back="a backfill never promotes"))


@attack("an override of a backfill", "held_back")
def backfill_override(world: World) -> str:
    version = world.version(held_back="a backfill never promotes")
    return world.refused("held_back", world.order, "override", version)


@attack("data that ends before the champion's", "old_interval")
def old_interval(world: World) -> str:
    world.promoted()
    return world.refused("old_interval", world.approve, world.version(ends=DAY - timedelta(days=1)))


@attack("data without days after a champion that has them", "old_interval")
def no_interval(world: World) -> str:
    world.promoted()
    return world.refused("old_interval", world.approve, world.version(ends=None))


# --- the order ------------------------------------------------------------------------------------------------------


@attack("an approval that was used before, for another version", "approval_used")
def approval_reused(world: World) -> str:
    approval = Approval("airflow", "airflow:night/review")
    world.approve(world.version(), approval=approval)
    return world.refused("approval_used", world.approve, world.version(), approval=approval)


@attack("an approval that was used before, for the same version, after a rollback", "approval_used")
def approval_again(world: World) -> str:
    world.promoted()
    version, approval = world.version(), Approval("airflow", "airflow:night/review")
    world.approve(version, approval=approval)
    world.order("rollback")
    return world.refused("approval_used", world.approve, version, approval=approval)


@attack("an approval that is older than a day", "approval_expired")
def old_approval(world: World) -> str:
    given = (datetime.now(UTC) - timedelta(hours=25)).isoformat()
    return world.refused("approval_expired", world.approve, world.version(), approval=Approval("cli", "", given))


@attack("an approval that is of tomorrow", "approval_expired")
def future_approval(world: World) -> str:
    given = (datetime.now(UTC) + timedelta(hours=25)).isoformat()
    return world.refused("approval_expired", world.approve, world.version(), approval=Approval("cli", "", given))


@attack("nobody is named who orders it", "no_name")
def nobody(world: World) -> str:
    return world.refused("no_name", world.approve, world.version(), who=" ")


@attack("an override without a reason", "no_reason")
def no_reason(world: World) -> str:
    return world.refused("no_reason", world.order, "override", world.version(status="FAIL"), reason="")


@attack("a version that the registry does not have", "unknown_version")
def unknown(world: World) -> str:
    version = world.version()
    verdict = world.registry.version(world.domain, version).tags["verdict_digest"]
    order = promotion.Order("approve", world.domain, "ann", 99, verdict)
    return world.refused("unknown_version", promotion.carry_out, world.registry, order)


@attack("`latest` or an alias instead of a number", "MODEL_VERSION")
def latest(world: World) -> str:
    for text in (f"modit-{world.domain}/latest", f"models:/modit-{world.domain}@challenger"):
        with pytest.raises(ConfigError) as caught:
            parse_version(text)
    return str(caught.value)


@attack("a version that a person rejected", "rejected")
def rejected(world: World) -> str:
    version = world.version()
    world.order("reject", version)
    return world.refused("rejected", world.approve, version)


@attack("the champion, once more", "is_champion")
def champion_again(world: World) -> str:
    return world.refused("is_champion", world.approve, world.promoted())


# --- two at once ----------------------------------------------------------------------------------------------------


@attack("another promotion of the domain is going on", "busy")
def busy(world: World) -> str:
    version = world.version()
    with (
        Lease(world.log.place.at(".lease"), "bob", "promoting", 60.0).held(),
        pytest.raises(RunBusyError, match="bob is promoting") as caught,
    ):
        world.approve(version)
    assert world.log.read() == []
    return str(caught.value)


def _meanwhile(world: World, act: Callable[[], None], name: str) -> str:
    """Approves; between its checks and its move something else happens."""
    version, check = world.version(), promotion.check_bundle

    def checking(*arguments: object) -> object:
        act()
        return check(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(promotion, "check_bundle", checking)
        with pytest.raises(promotion.Refused) as caught:
            world.approve(version)
    assert caught.value.name == name
    assert world.champion != version
    return str(caught.value)


@attack("the process sleeps until its lease expires, and another one takes it", "lease_expired")
def lease_expired(world: World) -> str:
    lease = world.log.place.at(".lease")
    return _meanwhile(
        world, lambda: lease.write_json("99999999.json", {"holder": "bob", "expires": 0.0}), "lease_expired"
    )


@attack("an entry that another process made between the checks and the move", "concurrent_promotion")
def overtaken(world: World) -> str:
    entry = Entry(1, "now", "bob", "approve", 7, None, 7, "1" * 64, "2" * 64, None, "")
    return _meanwhile(world, lambda: world.log.append(entry), "concurrent_promotion")


# --- the log and the registry ---------------------------------------------------------------------------------------


def _entry(world: World, number: int) -> Path:
    return Path(world.log.uri, f"{number:08d}.json")


@attack("an entry of the log is edited", "damaged_log")
def edited_log(world: World) -> str:
    world.promoted()
    edit_json(_entry(world, 1), lambda entry: entry.update(who="bob"))
    return world.refused("damaged_log", lambda: standing_of(world.registry, world.domain))


@attack("an older entry is rewritten, its own digest made to agree", "damaged_log")
def resealed_log(world: World) -> str:
    world.promoted()
    world.promoted()
    edited = replace(world.log.read()[0], who="bob")
    _entry(world, 1).write_text(json.dumps(edited.as_json()))
    return world.refused("damaged_log", lambda: standing_of(world.registry, world.domain))


@attack("the newest entry is rewritten, its own digest made to agree", "other_log")
def rewritten_newest(world: World) -> str:
    world.promoted()
    content = asdict(replace(world.log.read()[0], reason="another"))
    _entry(world, 1).write_text(json.dumps(content | {"digest": digest_of(content)}))
    return world.refused("other_log", lambda: standing_of(world.registry, world.domain))


@attack("an entry in the middle of the log is removed", "damaged_log")
def gap(world: World) -> str:
    world.promoted()
    second = world.promoted()
    _entry(world, 1).unlink()
    return world.refused("damaged_log", world.order, "reject", second)


@attack("the newest entry of the log is removed", "other_log")
def cut_log(world: World) -> str:
    world.promoted()
    world.promoted()
    _entry(world, 2).unlink()
    return world.refused("other_log", lambda: standing_of(world.registry, world.domain))


@attack("an entry is added by hand, of a version that there is not", "other_log")
def made_up(world: World) -> str:
    version = world.promoted()
    entry = Entry(0, "now", "bob", "approve", 77, None, None, "1" * 64, "2" * 64, None, "")
    world.log.append(following(world.log.read(), entry))
    return world.refused("other_log", world.order, "rollback", version)


@attack("the registry is pointed to an empty log", "other_log")
def forked_log(world: World) -> str:
    world.promoted()
    second = world.version()
    world.registry.tag_model(world.domain, "release_log", f"{world.root}/another")
    return world.refused("other_log", world.approve, second)


@attack("the champion alias is moved by hand: the next promotion", "alias_moved")
def moved_alias(world: World) -> str:
    world.promoted()
    second = world.version()
    world.registry.point_alias(world.domain, "champion", second)
    return world.refused("alias_moved", world.approve, second)


def _not_served(world: World) -> str:
    (found,) = [each for each in Agreement(world.registry, "champion").versions() if each.domain == world.domain]
    assert isinstance(found, Disagreement)
    return str(found.error)


@attack("the champion alias is moved by hand: the service", "alias_moved")
def served_alias(world: World) -> str:
    world.promoted()
    world.registry.point_alias(world.domain, "champion", world.version())
    return _not_served(world)


@attack("an alias is given where nothing was ever promoted", "alias_moved")
def first_by_hand(world: World) -> str:
    world.registry.point_alias(world.domain, "champion", world.version())
    return _not_served(world)


@attack("the champion's tags are pointed to another bundle", "broken_bundle")
def retagged_champion(world: World) -> str:
    champion, other = world.promoted(), world.version()
    for name in ("run_uri", "bundle_digest", "sampler_digest", "index_digest"):
        world.tag(champion, name, world.registry.version(world.domain, other).tags[name])
    return _not_served(world)


@attack("the champion's files are changed after its promotion: the service", "ArtifactError")
def changed_champion(world: World) -> str:
    champion = world.promoted()
    pass_it(world, champion, seal=True)
    with pytest.raises(ArtifactError, match="is not that of the bundle") as caught:
        world.serve()
    return str(caught.value)


# --- rollbacks ------------------------------------------------------------------------------------------------------


@attack("a rollback to a version that never was the champion", "never_champion")
def never_champion(world: World) -> str:
    world.promoted()
    return world.refused("never_champion", world.order, "rollback", world.version())


@attack("a rollback where there is nothing to go back to", "no_previous")
def no_previous(world: World) -> str:
    world.promoted()
    return world.refused("no_previous", world.order, "rollback")


@attack("a rollback to a bundle that is damaged", "broken_bundle")
def broken_rollback(world: World) -> str:
    first = world.promoted()
    world.promoted()
    _truncate(world, first)
    return world.refused("broken_bundle", world.order, "rollback")


@attack("a rollback to a bundle that was replaced, tags and all", "broken_bundle")
def replaced_rollback(world: World) -> str:
    first = world.promoted()
    world.promoted()
    _seal_manifest(world, first)
    world.tag(first, "bundle_digest", world.bundles[first].manifest(world.domain).digest)
    return world.refused("broken_bundle", world.order, "rollback")
