"""`dvc.yaml` is a view on the same declarations."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from graphs import dvc_edges, dvc_graph, expanded

from components.registry import REGISTRY
from modit.core.errors import ConfigError
from modit.core.run_config import RunConfig
from modit.params import Params
from pipelines.dvc_view import CONF, FILE, VARS, chosen_steps, dvc_pipeline, main, rendered


def test_the_committed_file_is_what_is_declared(capsys):
    assert FILE.read_text(encoding="utf-8") == rendered(chosen_steps(REGISTRY))
    assert main(["--check"]) == 0


def test_a_file_that_is_not_current_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("pipelines.dvc_view.FILE", tmp_path / "dvc.yaml")
    assert main(["--check"]) == 1
    assert "make dvc.yaml" in capsys.readouterr().err
    assert main([]) == 0
    assert main(["--check"]) == 0


def test_its_graph_is_that_of_the_declarations():
    assert dvc_graph(yaml.safe_load(rendered(REGISTRY)), VARS)[1] == REGISTRY.edges


def test_a_catalogue_runs_the_pipelines_that_its_variables_name_and_no_others(monkeypatch):
    assert {"register", "train_retriever"} < set(chosen_steps(REGISTRY).by_name)
    assert "train_towers" not in chosen_steps(REGISTRY).by_name  # the demo world has no judged queries
    monkeypatch.setitem(VARS, "pipelines", ["towers"])
    assert set(chosen_steps(REGISTRY).by_name) == set(REGISTRY.of("towers").by_name)
    monkeypatch.setitem(VARS, "pipelines", ["rows"])
    with pytest.raises(ConfigError, match="no pipeline 'rows'; allowed: retrain, "):
        chosen_steps(REGISTRY)
    monkeypatch.delitem(VARS, "pipelines")
    assert chosen_steps(REGISTRY) is REGISTRY


def test_no_edge_runs_between_stages_of_different_domains():
    found = dvc_edges(expanded(dvc_pipeline(REGISTRY), VARS))
    domains = [(earlier.partition("@")[2], later.partition("@")[2]) for earlier, later in found]
    assert {pair for pair in domains if all(pair) and pair[0] != pair[1]} == set()


def test_no_variable_is_left_open_and_the_conf_is_one_that_a_run_takes():
    stages = expanded(dvc_pipeline(REGISTRY), VARS)
    assert re.findall(r"\$\{.*?\}", json.dumps(stages)) == []
    conf = re.search(r"--conf '(.*)'", stages["validate_logs"]["cmd"])
    assert RunConfig.model_validate_json(conf[1]).preset == VARS["preset"]
    assert '"domains"' not in CONF


def test_every_stage_depends_on_its_sections_and_its_code():
    for name, stage in expanded(dvc_pipeline(REGISTRY), VARS).items():
        step = REGISTRY.get(name.split("@")[0])
        assert set(Params().sections(step.params)) < set(stage["params"])
        assert {"src/modit", REGISTRY.modules[step.name].replace(".", "/")} < set(stage["deps"])


def test_what_is_compared_between_commits_is_kept_by_dvc():
    pipeline = dvc_pipeline(REGISTRY)
    plotted = [path for plot in pipeline["plots"] for each in plot.values() for path in each["y"]]
    kept = {
        path.replace("/${item}", "")
        for stage in pipeline["stages"].values()
        for out in stage.get("do", stage)["outs"]
        for path, settings in out.items()
        if settings["cache"]
    }
    for path in [*pipeline["metrics"], *plotted]:
        assert any(path.startswith(f"{folder}/") for folder in kept), path
