"""params.yaml: presets and overrides are laid over the sections, and errors name what to change."""

from __future__ import annotations

from pathlib import Path

import pytest

from modit.core.errors import ConfigError
from modit.core.names import PRESETS
from modit.params import load_params

REAL = Path(__file__).resolve().parents[2] / "params.yaml"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("pretrain: {steps: 5, batch: 7}\npresets: {tiny: {pretrain: {steps: 2}}, small: }\n")
    return path


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_of_the_repository_is_valid(preset):
    load_params(REAL, preset)


def test_a_preset_changes_its_fields_and_no_other(file):
    assert load_params(file, "small").pretrain.steps == 5
    tiny = load_params(file, "tiny")
    assert (tiny.pretrain.steps, tiny.pretrain.batch) == (2, 7)


@pytest.mark.parametrize("overrides", [{"pretrain.steps": 9}, {"pretrain": {"steps": 9}}])
def test_overrides_win_over_the_preset_dotted_or_nested(file, overrides):
    params = load_params(file, "tiny", overrides)
    assert (params.pretrain.steps, params.pretrain.batch) == (9, 7)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"pretrain.steps": 0}, r"section pretrain, field steps: 0 is not allowed: .*greater than or equal to 1"),
        ({"pretrain.step": 3}, r"section pretrain, field step: unknown; allowed: steps, batch"),
        ({"pretrian.steps": 3}, r"section pretrian: unknown; allowed: seed, runner"),
        ({"seed": -1}, r"section seed: -1 is not allowed"),
    ],
)
def test_a_wrong_value_is_refused_with_file_section_field_value_and_range(file, overrides, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_params(file, "tiny", overrides)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["magic"], r"section hppo_variants, field names.0: 'magic' is not allowed: .*'off_policy', 'adaptive'"),
        (
            ["pareto", "adaptive", "pareto"],
            r"section hppo_variants, field names: \['pareto', 'adaptive', 'pareto'\] is not allowed: .*named twice; "
            r"allowed: each of off_policy, adaptive, pareto, pareto_epsilon once",
        ),
        (
            ["adaptive", "pareto_epsilon"],
            r"section hppo_variants: .* names holds 'pareto_epsilon', which section hppo runs already; "
            r"allowed: off_policy, adaptive, pareto$",
        ),
    ],
)
def test_a_variant_that_is_unknown_named_twice_or_hppos_own_is_refused(file, names, message):
    with pytest.raises(ConfigError, match=message):
        load_params(file, "tiny", {"hppo_variants.names": names})


def test_variants_come_in_one_order_and_hppos_own_makes_way(file):
    overrides = {"hppo.variant": "adaptive", "hppo_variants.names": ["pareto_epsilon", "off_policy"]}
    assert load_params(file, "tiny", overrides).hppo_variants.names == ("off_policy", "pareto_epsilon")
    assert load_params(file, "tiny").hppo_variants.names == ()


def test_an_unknown_preset_is_refused_with_those_allowed(file):
    with pytest.raises(ConfigError, match="no preset 'huge'.*allowed: tiny, small"):
        load_params(file, "huge")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="nowhere.yaml is missing"):
        load_params(tmp_path / "nowhere.yaml", "tiny")
