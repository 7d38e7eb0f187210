"""Every known way to promote or to serve wrongly is refused, by name, and changes nothing."""

from __future__ import annotations

import pytest

from modit.release.model_registry.refusals import NAMES
from tests.unit.release.attacks.all_attacks import ATTACKS
from tests.unit.release.attacks.attack import Attack

# What the refusals say that are no `Refused`: their names in the table, and what each must say.
OTHERS = {
    "ArtifactError": "is not that of the bundle",
    "MODEL_VERSION": "allowed: a model, a slash and a number",
    "busy": "bob is promoting",
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.words)
def test_it_is_refused_by_name(attack: Attack, world):
    said = attack.act(world)
    if attack.name in NAMES:
        assert said.startswith(f"refused ({attack.name}): ")
    else:
        assert OTHERS[attack.name] in said


def test_every_name_of_a_refusal_is_tried_and_every_attack_has_a_known_name():
    assert {attack.name for attack in ATTACKS} == set(NAMES) | set(OTHERS)
