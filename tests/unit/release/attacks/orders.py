"""Promoting by an order that does not count, or while another promotion is going on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from modit.core.errors import ConfigError, RunBusyError
from modit.core.locks import Lease
from modit.release.model_registry.model_version import parse_version
from modit.release.model_registry.release_log import Approval, LogEntry
from modit.release.promotion import promotion
from tests.unit.release.attacks.attack import Attacks
from tests.unit.release.world import World

ATTACKS = Attacks()


@ATTACKS.add("an approval that was used before, for another version", "approval_used")
def approval_reused(world: World) -> str:
    approval = Approval("airflow", "airflow:night/review")
    world.approve(world.version(), approval=approval)
    return world.refused("approval_used", world.approve, world.version(), approval=approval)


@ATTACKS.add("an approval that was used before, for the same version, after a rollback", "approval_used")
def approval_again(world: World) -> str:
    world.promoted()
    version, approval = world.version(), Approval("airflow", "airflow:night/review")
    world.approve(version, approval=approval)
    world.order("rollback")
    return world.refused("approval_used", world.approve, version, approval=approval)


@ATTACKS.add("an approval that is older than a day", "approval_expired")
def old_approval(world: World) -> str:
    given = (datetime.now(UTC) - timedelta(hours=25)).isoformat()
    return world.refused("approval_expired", world.approve, world.version(), approval=Approval("cli", "", given))


@ATTACKS.add("an approval that is of tomorrow", "approval_expired")
def future_approval(world: World) -> str:
    given = (datetime.now(UTC) + timedelta(hours=25)).isoformat()
    return world.refused("approval_expired", world.approve, world.version(), approval=Approval("cli", "", given))


@ATTACKS.add("nobody is named who orders it", "no_name")
def nobody(world: World) -> str:
    return world.refused("no_name", world.approve, world.version(), who=" ")


@ATTACKS.add("an override without a reason", "no_reason")
def no_reason(world: World) -> str:
    return world.refused("no_reason", world.order, "override", world.version(status="FAIL"), reason="")


@ATTACKS.add("a version that the registry does not have", "unknown_version")
def unknown(world: World) -> str:
    version = world.version()
    verdict = world.registry.version(world.domain, version).tags["verdict_digest"]
    order = promotion.Order("approve", world.domain, "ann", 99, verdict)
    return world.refused("unknown_version", promotion.carry_out, world.registry, order)


@ATTACKS.add("`latest` or an alias instead of a number", "MODEL_VERSION")
def latest(world: World) -> str:
    for text in (f"modit-{world.domain}/latest", f"models:/modit-{world.domain}@challenger"):
        with pytest.raises(ConfigError) as caught:
            parse_version(text)
    return str(caught.value)


@ATTACKS.add("a version that a person rejected", "rejected")
def rejected(world: World) -> str:
    version = world.version()
    world.order("reject", version)
    return world.refused("rejected", world.approve, version)


@ATTACKS.add("the champion, once more", "is_champion")
def champion_again(world: World) -> str:
    return world.refused("is_champion", world.approve, world.promoted())


@ATTACKS.add("another promotion of the domain is going on", "busy")
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


@ATTACKS.add("the process sleeps until its lease expires, and another one takes it", "lease_expired")
def lease_expired(world: World) -> str:
    lease = world.log.place.at(".lease")
    return _meanwhile(
        world, lambda: lease.write_json("99999999.json", {"holder": "bob", "expires": 0.0}), "lease_expired"
    )


@ATTACKS.add("an entry that another process made between the checks and the move", "concurrent_promotion")
def overtaken(world: World) -> str:
    entry = LogEntry(1, "now", "bob", "approve", 7, None, 7, "1" * 64, "2" * 64, None, "")
    return _meanwhile(world, lambda: world.log.append(entry), "concurrent_promotion")
