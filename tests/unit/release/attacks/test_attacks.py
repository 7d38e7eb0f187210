"""Every way that we know to promote or to serve wrongly is refused, by name, and changes nothing."""

from __future__ import annotations

import pytest

from modit.release.model_registry.refusals import NAMES
from tests.unit.release.attacks.all_attacks import ATTACKS
from tests.unit.release.attacks.attack import Attack


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.words)
def test_it_is_refused_by_name(attack: Attack, world):
    said = attack.act(world)
    if attack.name in NAMES:
        assert said.startswith(f"refused ({attack.name}): ")


def test_every_name_of_a_refusal_is_tried():
    assert set(NAMES) <= {attack.name for attack in ATTACKS}
