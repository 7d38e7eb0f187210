"""Promoting a version whose verdict, or whose data, does not allow it."""

from __future__ import annotations

from datetime import timedelta

from tests.unit.release.attacks.attack import Attacks
from tests.unit.release.world import DAY, World

ATTACKS = Attacks()


@ATTACKS.add("the verdict is FAIL", "not_passed")
def failed(world: World) -> str:
    return world.refused("not_passed", world.approve, world.version(status="FAIL"))


@ATTACKS.add("the verdict is FAIL, and the registry's tag and alias are set as if it had passed", "not_passed")
def failed_challenger(world: World) -> str:
    version = world.version(status="FAIL")
    world.tag(version, "status", "passed")
    world.registry.point_alias(world.domain, "challenger", version)
    return world.refused("not_passed", world.approve, version)


@ATTACKS.add("the verdict that was looked at is another version's", "other_verdict")
def other_verdict(world: World) -> str:
    first, second = world.version(), world.version(status="FAIL")
    verdict = world.registry.version(world.domain, first).tags["verdict_digest"]
    return world.refused("other_verdict", world.approve, second, verdict=verdict)


@ATTACKS.add("the verdict is stale: it was judged against no champion, and there is one now", "stale_verdict")
def stale_first(world: World) -> str:
    first, second = world.version(), world.version()
    world.approve(first)
    return world.refused("stale_verdict", world.approve, second)


@ATTACKS.add("the verdict is stale: the champion that it was judged against was rolled back", "stale_verdict")
def stale_after_rollback(world: World) -> str:
    world.promoted()
    world.promoted()
    third = world.version()
    world.order("rollback")
    return world.refused("stale_verdict", world.approve, third)


@ATTACKS.add("an override of a stale verdict", "stale_verdict")
def stale_override(world: World) -> str:
    first, second = world.version(), world.version(status="FAIL")
    world.approve(first)
    return world.refused("stale_verdict", world.order, "override", second)


@ATTACKS.add("a backfill", "held_back")
def backfill(world: World) -> str:
    return world.refused("held_back", world.approve, world.version(held_back="a backfill never promotes"))


@ATTACKS.add("an override of a backfill", "held_back")
def backfill_override(world: World) -> str:
    version = world.version(held_back="a backfill never promotes")
    return world.refused("held_back", world.order, "override", version)


@ATTACKS.add("data that ends before the champion's", "old_interval")
def old_interval(world: World) -> str:
    world.promoted()
    return world.refused("old_interval", world.approve, world.version(ends=DAY - timedelta(days=1)))


@ATTACKS.add("data without days after a champion that has them", "old_interval")
def no_interval(world: World) -> str:
    world.promoted()
    return world.refused("old_interval", world.approve, world.version(ends=None))
