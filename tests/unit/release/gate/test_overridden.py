"""Which thresholds a run sets for itself."""

from __future__ import annotations

import pytest

from modit.release.gate.gate import overridden_thresholds


@pytest.mark.parametrize(
    ("overrides", "found"),
    [
        ({"pretrain.steps": 10}, {}),
        ({"servability": {"p99_ms": 9}, "gate.noise_floor": 0}, {"gate.noise_floor": 0, "servability.p99_ms": 9}),
        ({"gate": {"classical_splits": []}}, {"gate.classical_splits": []}),
    ],
)
def test_those_of_the_gate_and_of_serving_are_named_however_they_are_written(overrides, found):
    assert list(overridden_thresholds(overrides).items()) == list(found.items())
