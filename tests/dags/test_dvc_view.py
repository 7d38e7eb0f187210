"""`dvc.yaml` is a view on the same declarations."""

from __future__ import annotations

import itertools
import json
import re

import yaml

from components.registry import REGISTRY
from modit.core.params import Params
from modit.core.run_config import RunConfig
from pipelines.dvc_view import CONF, FILE, VARS, dvc_pipeline, main, rendered


def expanded(pipeline: dict) -> dict[str, dict]:
    """The stages as DVC sees them: one for each domain, variables put in."""
    stages = {}
    for name, stage in pipeline["stages"].items():
        for domain in VARS["domains"] if "foreach" in stage else [None]:
            text = json.dumps(stage.get("do", stage))
            for variable, value in {**VARS, "item": domain}.items():
                text = text.replace(f"${{{variable}}}", str(value))
            stages[f"{name}@{domain}" if domain else name] = json.loads(text)
    return stages


def edges(stages: dict[str, dict]) -> set[tuple[str, str]]:
    """DVC's rule: a dependency on an output, on a folder around it, or on something in it."""
    writes = [(path, name) for name, stage in stages.items() for out in stage["outs"] for path in out]
    return {
        (writer, name)
        for name, stage in stages.items()
        for dependency, (path, writer) in itertools.product(stage["deps"], writes)
        if f"{dependency}/".startswith(f"{path}/") or f"{path}/".startswith(f"{dependency}/")
    }


def test_the_committed_file_is_what_is_declared(capsys):
    assert FILE.read_text(encoding="utf-8") == rendered(REGISTRY)
    assert main(["--check"]) == 0


def test_a_file_that_is_not_current_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("pipelines.dvc_view.FILE", tmp_path / "dvc.yaml")
    assert main(["--check"]) == 1
    assert "make dvc.yaml" in capsys.readouterr().err
    assert main([]) == 0
    assert main(["--check"]) == 0


def test_its_graph_is_that_of_the_declarations():
    found = edges(expanded(yaml.safe_load(rendered(REGISTRY))))
    assert {(earlier.split("@")[0], later.split("@")[0]) for earlier, later in found} == REGISTRY.edges


def test_no_edge_runs_between_stages_of_different_domains():
    found = edges(expanded(dvc_pipeline(REGISTRY)))
    domains = [(earlier.partition("@")[2], later.partition("@")[2]) for earlier, later in found]
    assert {pair for pair in domains if all(pair) and pair[0] != pair[1]} == set()


def test_no_variable_is_left_open_and_the_conf_is_one_that_a_run_takes():
    stages = expanded(dvc_pipeline(REGISTRY))
    assert re.findall(r"\$\{.*?\}", json.dumps(stages)) == []
    conf = re.search(r"--conf '(.*)'", stages["validate_logs"]["cmd"])
    assert RunConfig.model_validate_json(conf[1]).preset == VARS["preset"]
    assert '"domains"' not in CONF


def test_every_stage_depends_on_its_sections_and_its_code():
    for name, stage in expanded(dvc_pipeline(REGISTRY)).items():
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
