"""Airflow, Kubeflow Pipelines and DVC have the same graph."""

from __future__ import annotations

import pytest
import yaml
from graphs import airflow_graph, dvc_graph, kfp_graph

from components.registry import REGISTRY
from pipelines.dvc_view import FILE as DVC_FILE
from pipelines.dvc_view import VARS

pytest.importorskip("airflow", reason="needs the extra `airflow`")
pytest.importorskip("kfp", reason="needs the extra `kfp`")

from pipelines.kfp_platform import Platform  # noqa: E402
from pipelines.retrain import FILE as KFP_FILE  # noqa: E402
from pipelines.retrain import compiled, retrain_pipeline  # noqa: E402


def test_the_three_graphs_are_equal(tmp_path):
    assert_equal(airflow_graph(tmp_path), kfp_graph(KFP_FILE.read_text()))


def test_shards_add_tasks_and_no_edges(tmp_path):
    """DVC runs one task after the other, and shards none of them."""
    kfp = kfp_graph(compiled(retrain_pipeline(REGISTRY, Platform(shards=3))))
    assert_equal(airflow_graph(tmp_path, shards=3), kfp)


def assert_equal(airflow, kfp):
    dvc = dvc_graph(yaml.safe_load(DVC_FILE.read_text()), VARS)
    assert airflow[0] == kfp[0] == dvc[0] == set(REGISTRY.by_name)
    assert airflow[1] == kfp[1]
    # Domains stand in dvc.yaml; the others learn them from the step that decides, which is an edge to each mapped task.
    mapping = {(REGISTRY.domain_step.name, step.name) for step in REGISTRY.steps if step.per_domain}
    assert airflow[1] == dvc[1] | mapping
    assert dvc[1] == REGISTRY.edges
