"""The steps' graph as Airflow, Kubeflow Pipelines and DVC have it, each from what that tool is given."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import yaml

from modit.core.registry import Pipeline

ROOT = Path(__file__).resolve().parents[2]
Graph = tuple[set[str], set[tuple[str, str]]]

# What follows the steps in Airflow: the run fails if a domain failed; a person is asked, and the answer is carried out.
REVIEWS = {"prepare_reviews", "release.review", "release.carry_out"}
AFTER_STEPS = REVIEWS | {"all_domains"}

AIRFLOW = """
import json, runpy, sys
import components.pipelines
from modit.core.registry import Pipeline
components.pipelines.PIPELINES += tuple(Pipeline(**fields) for fields in json.loads(sys.argv[1]))
dag = runpy.run_path("dags/pipeline_dags.py")[sys.argv[2]]
print(json.dumps({task.task_id: sorted(task.upstream_task_ids) for task in dag.tasks}))
"""


def airflow_graph(home: Path, shards: int = 1, second: Pipeline | None = None, job: str = "nightly_retrain") -> Graph:
    """Nodes and edges of the steps in the parsed DAG `job`; `home` becomes Airflow's folder. Reviews are not steps.

    `second` is declared beside the pipelines that there are, and its DAG is taken.
    """
    settings = {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "MODIT_SHARDS": str(shards)}
    environment = {**os.environ, **settings}
    job = second.job if second else job
    command = [sys.executable, "-c", AIRFLOW, json.dumps([asdict(second)] if second else []), job]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    upstream = json.loads(result.stdout.splitlines()[-1])
    upstream = {name: before for name, before in upstream.items() if name not in AFTER_STEPS}
    return set(upstream), {(earlier, name) for name, before in upstream.items() for earlier in before}


def dvc_graph(pipeline: dict, variables: dict) -> Graph:
    """Nodes and edges of `dvc.yaml`, the stages of a step's domains taken together."""
    stages = expanded(pipeline, variables)
    edges = {(earlier.split("@")[0], later.split("@")[0]) for earlier, later in dvc_edges(stages)}
    return {name.split("@")[0] for name in stages}, edges


def expanded(pipeline: dict, variables: dict) -> dict[str, dict]:
    """The stages as DVC sees them: one for each domain, variables put in."""
    stages = {}
    for name, stage in pipeline["stages"].items():
        for domain in variables["domains"] if "foreach" in stage else [None]:
            text = json.dumps(stage.get("do", stage))
            for variable, value in {**variables, "item": domain}.items():
                text = text.replace(f"${{{variable}}}", str(value))
            stages[f"{name}@{domain}" if domain else name] = json.loads(text)
    return stages


def dvc_edges(stages: dict[str, dict]) -> set[tuple[str, str]]:
    """DVC's rule: a dependency on an output, on a folder around it, or on something in it."""
    writes = [(path, name) for name, stage in stages.items() for out in stage["outs"] for path in out]
    return {
        (writer, name)
        for name, stage in stages.items()
        for dependency, (path, writer) in itertools.product(stage["deps"], writes)
        if f"{dependency}/".startswith(f"{path}/") or f"{path}/".startswith(f"{dependency}/")
    }


def kfp_graph(text: str) -> Graph:
    """Nodes and edges of a compiled pipeline: from which tasks each task's inputs come, through all loops."""
    return KfpGraph(yaml.safe_load(text)).found()


class KfpGraph:
    """Walks through a compiled pipeline and the graphs inside it."""

    def __init__(self, spec: dict) -> None:
        self.spec = spec
        self.nodes: set[str] = set()
        self.edges: set[tuple[str, str]] = set()

    def found(self) -> Graph:
        self._walk(self.spec["root"]["dag"], {})
        return self.nodes, self.edges

    def component(self, task: dict) -> dict:
        return self.spec["components"][task["componentRef"]["name"]]

    def step(self, component: dict) -> str:
        """The step that a component's container is told to run."""
        executor = self.spec["deploymentSpec"]["executors"][component["executorLabel"]]
        return executor["container"]["command"][-1]

    def _walk(self, dag: dict, given: dict[str, str]) -> None:
        for task in dag["tasks"].values():
            sources = {name: self._source(dag, binding, given) for name, binding in bindings(task).items()}
            component = self.component(task)
            if "dag" in component:
                iterator = task.get("parameterIterator")
                # The items of a loop are an input, or a list that stands there.
                items = iterator["items"].get("inputParameter") if iterator else None
                item = {iterator["itemInput"]: sources[items]} if iterator and items else {}
                self._walk(component["dag"], {name: step for name, step in (sources | item).items() if step})
            else:
                self.nodes.add(self.step(component))
                self.edges |= {(step, self.step(component)) for step in sources.values() if step}

    def _source(self, dag: dict, binding: dict, given: dict[str, str]) -> str | None:
        """The step that an input comes from; None for a parameter of the pipeline."""
        for kind, key in (("taskOutputArtifact", "outputArtifactKey"), ("taskOutputParameter", "outputParameterKey")):
            if kind in binding:
                return self._writer(dag, binding[kind]["producerTask"], binding[kind][key])
        return given.get(binding.get("componentInputArtifact") or binding.get("componentInputParameter"))

    def _writer(self, dag: dict, task: str, key: str) -> str:
        component = self.component(dag["tasks"][task])
        if "dag" not in component:
            return self.step(component)
        inner = component["dag"]
        value = inner["outputs"]["parameters"][key]["valueFromParameter"]
        return self._writer(inner, value["producerSubtask"], value["outputParameterKey"])


def bindings(task: dict) -> dict[str, dict]:
    """Where a task's inputs come from."""
    inputs = task.get("inputs", {})
    return {**inputs.get("artifacts", {}), **inputs.get("parameters", {})}
