"""The declarations of all steps fit together and stay light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from components.registry import REGISTRY
from modit.params import Params

ROOT = Path(__file__).resolve().parents[2]


def test_every_step_names_sections_that_params_yaml_has():
    for step in REGISTRY.steps:
        assert set(Params().sections(step.params)) == set(step.params)


@pytest.mark.parametrize("pipeline", [each.name for each in REGISTRY.pipelines if each.nightly])
def test_the_last_step_waits_for_all_others_so_that_a_night_is_over_with_it(pipeline):
    steps = REGISTRY.of(pipeline).steps
    read = {name for step in steps for name in step.inputs}
    assert [step.name for step in steps if not read.intersection(step.outputs)] == [steps[-1].name]


def test_every_step_is_in_a_pipeline():
    assert {step.name for each in REGISTRY.pipelines for step in REGISTRY.of(each.name).steps} == set(REGISTRY.by_name)


def test_hppo_rounds_read_the_round_before():
    assert "hppo_1" not in REGISTRY.get("hppo_round_1").inputs
    assert "hppo_1" in REGISTRY.get("hppo_round_2").inputs


@pytest.mark.parametrize("step", REGISTRY.steps, ids=lambda step: step.name)
def test_every_step_has_a_run_module_beside_its_declaration(step):
    folder = ROOT / REGISTRY.modules[step.name].replace(".", "/")
    assert (folder / "run.py").is_file()


def test_declarations_import_the_standard_library_only():
    heavy = ("numpy", "pydantic", "yaml", "fsspec", "torch", "pandas")
    code = f"import sys; import components.registry; print([n for n in sys.modules if n.split('.')[0] in {heavy}])"
    paths = {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    result = subprocess.run([sys.executable, "-S", "-c", code], env=paths, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
