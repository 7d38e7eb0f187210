"""Promotion moves the champion by one entry of the release log, and the registry's aliases follow."""

from __future__ import annotations

from tests.unit.release.world import World


def test_approve_reject_and_roll_back(world: World):
    first, second, third = world.promoted(), world.promoted(), world.promoted()
    assert world.aliases == {"champion": third, "previous": second}
    world.order("rollback")
    assert world.aliases == {"champion": second, "previous": first}
    fourth = world.version()
    assert world.aliases["challenger"] == fourth
    world.order("reject", fourth)
    assert "challenger" not in world.aliases and world.champion == second
    assert [entry.action for entry in world.log.read()] == ["approve"] * 3 + ["rollback", "reject"]
    assert world.serve().source.version == second
