"""The pipeline of Kubeflow Pipelines is a view on the declarations."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from graphs import ROOT, KfpGraph, kfp_graph

from components.registry import REGISTRY
from modit.core.errors import ConfigError
from modit.core.run_config import RunConfig

pytest.importorskip("kfp", reason="needs the extra `kfp`")

from pipelines import kfp_platform  # noqa: E402
from pipelines.kfp_graph import (
    artifact_type,  # noqa: E402
    phases,  # noqa: E402
)
from pipelines.kfp_platform import Platform  # noqa: E402
from pipelines.kfp_view import FOLDER, compiled, kfp_pipeline, main  # noqa: E402

RETRAIN = REGISTRY.of("retrain")

DOMAINS = ("popular", "quality")


@pytest.fixture(scope="module")
def spec():
    return yaml.safe_load((FOLDER / "retrain.yaml").read_text())


@pytest.fixture(scope="module")
def containers(spec):
    return containers_of(spec)


def containers_of(spec):
    executors = spec["deploymentSpec"]["executors"].values()
    return {executor["container"]["command"][-1]: executor["container"] for executor in executors}


def tasks_of(spec):
    dags = [spec["root"]["dag"], *(part["dag"] for part in spec["components"].values() if "dag" in part)]
    return {name: task for dag in dags for name, task in dag["tasks"].items()}


@pytest.mark.parametrize("pipeline", [each.name for each in REGISTRY.pipelines])
def test_the_committed_file_is_what_is_declared(monkeypatch, pipeline):
    for variable in ("MODIT_IMAGES", "MODIT_SHARDS"):
        monkeypatch.delenv(variable, raising=False)
    assert main([pipeline, "--check"]) == 0


def test_a_file_that_is_not_current_is_named(tmp_path, capsys):
    assert main(["retrain", "--check", "--out", str(tmp_path / "other.yaml")]) == 1
    assert "make pipelines/retrain.yaml" in capsys.readouterr().err


def test_compiling_in_another_process_gives_the_same_bytes(tmp_path):
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    for variable in ("MODIT_IMAGES", "MODIT_SHARDS"):
        environment.pop(variable, None)
    command = [sys.executable, "-m", "pipelines.kfp_view", "retrain", "--out", str(tmp_path / "other.yaml")]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    assert (tmp_path / "other.yaml").read_bytes() == (FOLDER / "retrain.yaml").read_bytes()


def test_the_file_names_no_path_of_the_machine_that_made_it():
    text = (FOLDER / "retrain.yaml").read_text()
    assert str(ROOT) not in text and f"{Path.home()}/" not in text


def test_the_loops_are_over_the_domains_that_the_run_decides(spec):
    items = [task["parameterIterator"]["items"] for task in tasks_of(spec).values() if "parameterIterator" in task]
    assert items == [{"inputParameter": "pipelinechannel--assign-patterns-eligible_domains"}] * 3


def test_exactly_the_per_domain_steps_are_in_loops(spec):
    graph = KfpGraph(spec)
    loops = [graph.component(task)["dag"] for task in tasks_of(spec).values() if "parameterIterator" in task]
    looped = [graph.step(graph.component(task)) for loop in loops for task in loop["tasks"].values()]
    assert sorted(looped) == sorted(step.name for step in RETRAIN.steps if step.per_domain)


def test_a_step_that_reads_all_domains_comes_after_their_loop():
    found = phases(RETRAIN)
    assert found["label_anchors"] == found["pretrain"] == 0
    assert found["continue_pretrain"] == found["finetune"] == found["hppo_round_4"] == 1
    assert found["render_report"] == found["gate"] == 2 and found["register"] == 3


def test_nothing_follows_a_night_without_new_data(spec):
    assert set(spec["root"]["dag"]["tasks"]) == {"validate-logs", "condition-1"}
    condition = spec["root"]["dag"]["tasks"]["condition-1"]["triggerPolicy"]["condition"]
    assert condition.endswith("['pipelinechannel--validate-logs-outcome'] != 'SKIPPED_NO_DATA'")


def test_every_task_runs_the_adapter_with_what_kfp_tells_it(containers):
    for step in RETRAIN.steps:
        container = containers[step.name]
        assert container["command"] == ["python", "-m", "pipelines.kfp_task", step.name]
        last = ["--last"] if step.name in RETRAIN.last_steps else []
        again = ["--retries", str(step.retries)] if step.per_domain else []
        options = ["--timeout-minutes", f"{step.timeout_minutes:g}", "--pipeline", "retrain", *again, *last]
        assert container["args"][: len(options) + 2] == [*options, "--executor-input", "{{$}}"]
        assert container["args"][len(options) + 3 :: 3] == list(step.outputs)


def test_limits_and_retries_are_those_of_the_declaration(spec, containers):
    for step in RETRAIN.steps:
        resources = containers[step.name]["resources"]
        assert float(resources["resourceCpuLimit"]) == step.resources.cpus
        assert resources["resourceMemoryLimit"] == f"{step.resources.memory_gb:g}Gi"
        accelerator = resources.get("accelerator", {})
        assert int(accelerator.get("resourceCount", 0)) == step.resources.gpus
        assert accelerator.get("resourceType", "nvidia.com/gpu") == "nvidia.com/gpu"
        policy = tasks_of(spec)[step.name.replace("_", "-")]["retryPolicy"]
        # A task of a domain has one attempt more, to leave out the domain where all others were killed.
        assert policy["maxRetryCount"] == step.retries + step.per_domain and policy["backoffDuration"] == "30s"


def test_kfps_own_cache_is_off_everywhere(spec):
    tasks = [task for task in tasks_of(spec).values() if "cachingOptions" in task]
    assert len(tasks) == len(RETRAIN.steps)
    assert {str(task["cachingOptions"]) for task in tasks} == {"{}"}


def test_a_cluster_without_accelerators_is_asked_for_none():
    spec = yaml.safe_load(compiled(kfp_pipeline(RETRAIN, Platform(accelerator=None))))
    assert not any("accelerator" in container["resources"] for container in containers_of(spec).values())


def test_images_are_given_for_all_steps_or_by_kind(tmp_path):
    kind = RETRAIN.steps[0].image
    assert Platform().image_of(RETRAIN.steps[0]) == f"modit/{kind}:dev"
    assert Platform("here/all:1").image_of(RETRAIN.steps[0]) == "here/all:1"
    main(
        [
            "retrain",
            "--out",
            str(tmp_path / "one.yaml"),
            "--image",
            "here/{image}:1",
            "--image",
            f"{kind}=there/x@sha256:0",
        ]
    )
    images = {
        container["image"] for container in containers_of(yaml.safe_load((tmp_path / "one.yaml").read_text())).values()
    }
    assert "there/x@sha256:0" in images
    assert images == {"there/x@sha256:0" if step.image == kind else f"here/{step.image}:1" for step in RETRAIN.steps}


def test_an_image_may_come_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("MODIT_IMAGES", "here/all:2")
    main(["retrain", "--out", str(tmp_path / "one.yaml")])
    assert {c["image"] for c in containers_of(yaml.safe_load((tmp_path / "one.yaml").read_text())).values()} == {
        "here/all:2"
    }


def test_variables_are_given_to_every_task_but_those_of_a_service_to_who_needs_it(tmp_path):
    given = ["A=0", "B=1=2", "MLFLOW_TRACKING_URI=http://mlflow", "MODIT_FEATURES=/data/features"]
    main(["retrain", "--out", str(tmp_path / "one.yaml"), *(f"--env={each}" for each in given)])
    containers = containers_of(yaml.safe_load((tmp_path / "one.yaml").read_text()))
    held = {name: {each["name"]: each["value"] for each in found["env"]} for name, found in containers.items()}
    assert all(found["A"] == "0" and found["B"] == "1=2" for found in held.values())
    assert {name for name, found in held.items() if "MODIT_FEATURES" in found} == {"publish_features"}
    registry = {"fetch_champion", "publish_features", "register"}
    assert {name for name, found in held.items() if "MLFLOW_TRACKING_URI" in found} == registry


@pytest.mark.parametrize("variable", ["AWS_SECRET_ACCESS_KEY=a", "MODIT_REDIS=r:1,password=a", "ANY=http://a:b@c"])
def test_a_secret_variable_is_refused_without_its_value(tmp_path, variable):
    name = variable.partition("=")[0]
    with pytest.raises(ConfigError, match=f"^--env {name}=...: the pipeline would show it; .* see --secrets$"):
        main(["retrain", "--out", str(tmp_path / "one.yaml"), "--env", variable])


def test_a_task_refers_to_the_secrets_of_the_services_that_its_step_needs(tmp_path):
    main(
        [
            "retrain",
            "--out",
            str(tmp_path / "one.yaml"),
            "--secrets",
            "our-{service}",
            "--env",
            "AWS_ENDPOINT_URL=http://s3",
        ]
    )
    spec, platform = yaml.safe_load_all((tmp_path / "one.yaml").read_text())
    labels = {
        label: executor["container"]["command"][-1] for label, executor in spec["deploymentSpec"]["executors"].items()
    }
    found = {
        labels[label]: {
            each["secretName"]: {pair["envVar"]: pair["secretKey"] for pair in each["keyToEnv"]}
            for each in settings["secretAsEnv"]
            if each["optional"]
        }
        for label, settings in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].items()
    }
    held = {
        "fetch_champion": {"our-registry"},
        "register": {"our-registry"},
        "publish_features": {"our-registry", "our-feature-store"},
    }
    assert {name: set(secrets) - {"our-artifact-store"} for name, secrets in found.items()} == {
        step.name: held.get(step.name, set()) for step in RETRAIN.steps
    }
    assert all(key == name for secrets in found.values() for keys in secrets.values() for name, key in keys.items())
    keys = found["publish_features"]
    assert "AWS_SECRET_ACCESS_KEY" in keys["our-artifact-store"] and "MODIT_REDIS" in keys["our-feature-store"]
    assert "AWS_ENDPOINT_URL" not in keys["our-artifact-store"]  # that was given


def test_a_claim_lies_in_every_task(tmp_path):
    main(["retrain", "--out", str(tmp_path / "one.yaml"), "--claim", "shop-data=/data"])
    _, platform = yaml.safe_load_all((tmp_path / "one.yaml").read_text())
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values()
    mounts = [(each["pvcMount"][0]["constant"], each["pvcMount"][0]["mountPath"]) for each in settings]
    assert mounts == [("shop-data", "/data")] * len(RETRAIN.steps)


@pytest.mark.parametrize("claim", ["shop-data", "shop-data=data", "Shop=/data", "=/data"])
def test_a_claim_without_a_name_or_an_absolute_path_is_refused(tmp_path, claim):
    with pytest.raises(ConfigError, match=f"^--claim '{claim}'; allowed: NAME=PATH"):
        main(["retrain", "--out", str(tmp_path / "one.yaml"), "--claim", claim])


def test_artifacts_are_typed(spec):
    outputs = {
        name: definition["artifactType"]["schemaTitle"]
        for component in spec["components"].values()
        if "executorLabel" in component
        for name, definition in component["outputDefinitions"]["artifacts"].items()
    }
    assert set(outputs) == set(RETRAIN.writer)
    assert all(title == artifact_type(name).schema_title for name, title in outputs.items())
    assert outputs["catalog"] == "system.Dataset" and outputs["hppo_3"] == outputs["sampler"] == "system.Model"
    assert outputs["report"] == "system.HTML" and outputs["verdict"] == "system.Metrics"
    assert outputs["index"] == "system.Artifact"


def test_the_pipelines_parameters_are_those_that_the_tasks_read(spec):
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert set(parameters) == set(kfp_platform.RUN_PARAMETERS)
    assert {name for name, given in parameters.items() if not given.get("isOptional")} == {
        "catalogue",
        "run_root",
        "run",
    }
    not_of_the_run = {"run_root", "run"}
    assert set(parameters) - not_of_the_run == set(RunConfig.model_fields) - {"promote", "new_domain", "pipeline"}


def test_sharded_steps_are_in_loops_over_their_shards(tmp_path):
    main(["retrain", "--out", str(tmp_path / "three.yaml"), "--shards", "3"])
    spec = yaml.safe_load((tmp_path / "three.yaml").read_text())
    graph, found = KfpGraph(spec), {}
    for task in tasks_of(spec).values():
        if "raw" in task.get("parameterIterator", {}).get("items", {}):
            inner = graph.component(task)["dag"]["tasks"].values()
            found |= {
                graph.step(graph.component(each)): json.loads(task["parameterIterator"]["items"]["raw"])
                for each in inner
            }
    assert found == {step.name: ["1/3", "2/3", "3/3"] for step in RETRAIN.steps if step.sharded}
    assert {"label_anchors", "publish_features"} <= set(found)


def test_a_number_of_shards_out_of_range_is_refused():
    with pytest.raises(ConfigError, match="65 shards; allowed: 1 to 64"):
        main(["retrain", "--check", "--shards", "65"])


def test_unrolled_every_shard_is_a_task():
    text = compiled(kfp_pipeline(RETRAIN, Platform(shards=2), DOMAINS))
    assert kfp_graph(text) == (set(RETRAIN.by_name), RETRAIN.edges)
    tasks = yaml.safe_load(text)["root"]["dag"]["tasks"]
    assert {"label-anchors-popular-1-of-2", "label-anchors-quality-2-of-2", "publish-features-1-of-2"} <= set(tasks)


def test_unrolled_it_has_the_same_graph_and_no_control_flow():
    text = compiled(kfp_pipeline(RETRAIN, Platform(), DOMAINS))
    nodes, edges = kfp_graph(text)
    assert (nodes, edges) == (set(RETRAIN.by_name), RETRAIN.edges)
    spec = yaml.safe_load(text)
    assert not any("dag" in component for component in spec["components"].values())
    tasks = spec["root"]["dag"]["tasks"]
    per_domain = sum(step.per_domain for step in RETRAIN.steps)
    assert len(tasks) == len(RETRAIN.steps) + per_domain * (len(DOMAINS) - 1)
    # kfp.local names a task's folder after its component.
    assert len({task["componentRef"]["name"] for task in tasks.values()}) == len(tasks)
