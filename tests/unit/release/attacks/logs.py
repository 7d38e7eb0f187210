"""Editing the release log or the registry, so that something else is promoted, or served."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from modit.core.errors import ArtifactError
from modit.core.storage import digest_of
from modit.release.model_registry.release_log import LogEntry, following
from modit.release.model_registry.release_state import ChampionResolver, UnresolvedChampion, read_release_state
from tests.unit.release.attacks.attack import Attacks
from tests.unit.release.attacks.edits import edit_json, pass_it
from tests.unit.release.world import World

ATTACKS = Attacks()


def _entry(world: World, number: int) -> Path:
    return Path(world.log.uri, f"{number:08d}.json")


@ATTACKS.add("an entry of the log is edited", "damaged_log")
def edited_log(world: World) -> str:
    world.promoted()
    edit_json(_entry(world, 1), lambda entry: entry.update(who="bob"))
    return world.refused("damaged_log", read_release_state, world.registry, world.domain)


@ATTACKS.add("an older entry is rewritten, its own digest made to agree", "damaged_log")
def resealed_log(world: World) -> str:
    world.promoted()
    world.promoted()
    edited = replace(world.log.read()[0], who="bob")
    _entry(world, 1).write_text(json.dumps(edited.as_json()))
    return world.refused("damaged_log", read_release_state, world.registry, world.domain)


@ATTACKS.add("the newest entry is rewritten, its own digest made to agree", "other_log")
def rewritten_newest(world: World) -> str:
    world.promoted()
    content = asdict(replace(world.log.read()[0], reason="another"))
    _entry(world, 1).write_text(json.dumps(content | {"digest": digest_of(content)}))
    return world.refused("other_log", read_release_state, world.registry, world.domain)


@ATTACKS.add("an entry in the middle of the log is removed", "damaged_log")
def gap(world: World) -> str:
    world.promoted()
    second = world.promoted()
    _entry(world, 1).unlink()
    return world.refused("damaged_log", world.order, "reject", second)


@ATTACKS.add("the newest entry of the log is removed", "other_log")
def cut_log(world: World) -> str:
    world.promoted()
    world.promoted()
    _entry(world, 2).unlink()
    return world.refused("other_log", read_release_state, world.registry, world.domain)


@ATTACKS.add("an entry is added by hand, of a version that there is not", "other_log")
def made_up(world: World) -> str:
    version = world.promoted()
    entry = LogEntry(0, "now", "bob", "approve", 77, None, None, "1" * 64, "2" * 64, None, "")
    world.log.append(following(world.log.read(), entry))
    return world.refused("other_log", world.order, "rollback", version)


@ATTACKS.add("the registry is pointed to an empty log", "other_log")
def forked_log(world: World) -> str:
    world.promoted()
    second = world.version()
    world.registry.tag_model(world.domain, "release_log", f"{world.root}/another")
    return world.refused("other_log", world.approve, second)


@ATTACKS.add("the champion alias is moved by hand: the next promotion", "alias_moved")
def moved_alias(world: World) -> str:
    world.promoted()
    second = world.version()
    world.registry.point_alias(world.domain, "champion", second)
    return world.refused("alias_moved", world.approve, second)


def _not_served(world: World) -> str:
    (found,) = [each for each in ChampionResolver(world.registry, "champion").versions() if each.domain == world.domain]
    assert isinstance(found, UnresolvedChampion)
    return str(found.error)


@ATTACKS.add("the champion alias is moved by hand: the service", "alias_moved")
def served_alias(world: World) -> str:
    world.promoted()
    world.registry.point_alias(world.domain, "champion", world.version())
    return _not_served(world)


@ATTACKS.add("an alias is given where nothing was ever promoted", "alias_moved")
def first_by_hand(world: World) -> str:
    world.registry.point_alias(world.domain, "champion", world.version())
    return _not_served(world)


@ATTACKS.add("the champion's tags are pointed to another bundle", "broken_bundle")
def retagged_champion(world: World) -> str:
    champion, other = world.promoted(), world.version()
    for name in ("run_uri", "bundle_digest", "sampler_digest", "index_digest"):
        world.tag(champion, name, world.registry.version(world.domain, other).tags[name])
    return _not_served(world)


@ATTACKS.add("the champion's files are changed after its promotion: the service", "ArtifactError")
def changed_champion(world: World) -> str:
    champion = world.promoted()
    pass_it(world, champion, seal=True)
    with pytest.raises(ArtifactError, match="is not that of the bundle") as caught:
        world.serve()
    return str(caught.value)
