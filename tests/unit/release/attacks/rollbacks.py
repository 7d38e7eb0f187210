"""Rolling back to what never was the champion, or is no longer what it was."""

from __future__ import annotations

from tests.unit.release.attacks.attack import Attacks
from tests.unit.release.attacks.edits import rename_service, truncate
from tests.unit.release.world import World

ATTACKS = Attacks()


@ATTACKS.add("a rollback to a version that never was the champion", "never_champion")
def never_champion(world: World) -> str:
    world.promoted()
    return world.refused("never_champion", world.order, "rollback", world.version())


@ATTACKS.add("a rollback where there is nothing to go back to", "no_previous")
def no_previous(world: World) -> str:
    world.promoted()
    return world.refused("no_previous", world.order, "rollback")


@ATTACKS.add("a rollback to a bundle that is damaged", "broken_bundle")
def broken_rollback(world: World) -> str:
    first = world.promoted()
    world.promoted()
    truncate(world, first)
    return world.refused("broken_bundle", world.order, "rollback")


@ATTACKS.add("a rollback to a bundle that was replaced, tags and all", "broken_bundle")
def replaced_rollback(world: World) -> str:
    first = world.promoted()
    world.promoted()
    rename_service(world, first)
    world.tag(first, "bundle_digest", world.bundles[first].manifest(world.domain).digest)
    return world.refused("broken_bundle", world.order, "rollback")
