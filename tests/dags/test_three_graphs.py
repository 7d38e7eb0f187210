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

from pipelines.retrain import FILE as KFP_FILE  # noqa: E402


def test_the_three_graphs_are_equal(tmp_path):
    airflow, kfp = airflow_graph(tmp_path), kfp_graph(KFP_FILE.read_text())
    dvc = dvc_graph(yaml.safe_load(DVC_FILE.read_text()), VARS)
    assert airflow[0] == kfp[0] == dvc[0] == set(REGISTRY.by_name)
    assert airflow[1] == kfp[1]
    # Domains stand in dvc.yaml; the others learn them from the step that decides, which is an edge to each mapped task.
    mapping = {(REGISTRY.domain_step.name, step.name) for step in REGISTRY.steps if step.per_domain}
    assert airflow[1] == dvc[1] | mapping
    assert dvc[1] == REGISTRY.edges
