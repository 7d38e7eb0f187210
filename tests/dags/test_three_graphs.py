"""Airflow, Kubeflow Pipelines and DVC have the same graph."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml
from graphs import airflow_graph, dvc_graph, kfp_graph

from components.registry import REGISTRY
from modit.core.registry import Pipeline
from pipelines.dvc_view import FILE as DVC_FILE
from pipelines.dvc_view import VARS, chosen_steps, dvc_pipeline

pytest.importorskip("airflow", reason="needs the extra `airflow`")
pytest.importorskip("kfp", reason="needs the extra `kfp`")

from pipelines.kfp_platform import Platform  # noqa: E402
from pipelines.kfp_view import (  # noqa: E402
    FOLDER,  # noqa: E402
    compiled,
    kfp_pipeline,
)


@pytest.mark.parametrize("pipeline", REGISTRY.pipelines, ids=lambda pipeline: pipeline.name)
def test_the_three_graphs_of_a_pipeline_are_equal(tmp_path, pipeline):
    registry = REGISTRY.of(pipeline.name)
    kfp = kfp_graph((FOLDER / f"{pipeline.name}.yaml").read_text())
    assert_equal(airflow_graph(tmp_path, job=pipeline.job), kfp, registry)


def test_dvc_has_the_steps_of_the_pipelines_that_its_variables_name():
    chosen = chosen_steps(REGISTRY)
    assert dvc_graph(yaml.safe_load(DVC_FILE.read_text()), VARS) == (set(chosen.by_name), chosen.edges)


def test_shards_add_tasks_and_no_edges(tmp_path):
    """DVC runs one task after the other, and shards none of them."""
    kfp = kfp_graph(compiled(kfp_pipeline(REGISTRY.of("retrain"), Platform(shards=3))))
    assert_equal(airflow_graph(tmp_path, shards=3), kfp, REGISTRY.of("retrain"))


def test_a_second_pipeline_has_the_same_graph_in_all_three_and_only_the_steps_that_it_needs(tmp_path):
    """It is declared by its ends alone; no view has code of its own for it."""
    second = Pipeline("second", ends=("features", "trajectories"), description="A toy.")
    registry = replace(REGISTRY, pipelines=(*REGISTRY.pipelines, second)).of("second")
    assert "register" not in registry.by_name and "build_trajectories" in registry.by_name
    kfp = kfp_graph(compiled(kfp_pipeline(registry, Platform())))
    assert_equal(airflow_graph(tmp_path, second=second), kfp, registry)


def assert_equal(airflow, kfp, registry):
    dvc = dvc_graph(dvc_pipeline(registry), VARS)
    assert airflow[0] == kfp[0] == dvc[0] == set(registry.by_name)
    assert airflow[1] == kfp[1]
    # Domains stand in dvc.yaml; the others learn them from the step that decides, which is an edge to each mapped task.
    per_domain = [step.name for step in registry.steps if step.per_domain]
    mapping = {(registry.domain_step.name, name) for name in per_domain}
    assert airflow[1] == dvc[1] | mapping
    assert dvc[1] == registry.edges
