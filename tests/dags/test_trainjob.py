"""A step of several machines is a TrainJob: what is sent, how it is followed, what its end means."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from components.registry import REGISTRY

pytest.importorskip("airflow.providers.cncf.kubernetes", reason="needs the extra `containers`")
models = pytest.importorskip("kubeflow_trainer_api.models", reason="needs the extra `dev`")

ROOT = Path(__file__).resolve().parents[2]
TRAINER = ROOT / "infra" / "kubernetes" / "trainer"
ENVIRONMENT = {
    "MODIT_GPUS": "1",
    "MODIT_TRAIN_NODES": "2",
    "MODIT_TRAIN_GPUS": "8",
    "MODIT_CLAIM": "modit-data",
    "MODIT_IMAGES": "site/modit-{image}:1",
    "MODIT_GPU_NODE_SELECTOR": '{"gpu": "h100"}',
    "MODIT_GPU_TOLERATIONS": '[{"key": "gpu", "operator": "Exists"}]',
    "OMP_NUM_THREADS": "1",
    "AWS_ENDPOINT_URL": "http://s3:9000",
    "AWS_SECRET_ACCESS_KEY": "hidden",
    "MODIT_REDIS": "redis:6379,password=hidden",
}


def scenario(home: Path, **environment: str) -> dict:
    given = {**os.environ, **ENVIRONMENT, "AIRFLOW_HOME": str(home), "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    command = [sys.executable, str(ROOT / "tests" / "dags" / "trainjob_scenarios.py"), str(home)]
    done = subprocess.run(command, cwd=ROOT, env=given | environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout.splitlines()[-1]), "log": done.stderr + done.stdout}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return scenario(tmp_path_factory.mktemp("airflow"))


def expect_known(model: type, content: dict) -> None:
    """The API knows every field: what it does not know, its models drop."""
    assert model.from_dict(content).to_dict() == content


def test_only_steps_that_train_become_trainjobs(found):
    trained = {step.name for step in REGISTRY.steps if step.resources.gpus}
    assert {name for name, operator in found["classes"].items() if operator == "TrainJobStep"} == trained
    assert {operator for name, operator in found["classes"].items() if name not in trained} == {"KubernetesStep"}


def test_trainjob_is_what_the_api_of_kubeflow_trainer_knows(found):
    for body in found["created"]:
        expect_known(models.TrainerV1alpha1TrainJob, body)


def test_trainjob_has_what_declaration_and_settings_say(found):
    body = found["created"][0]
    spec, step = body["spec"], REGISTRY.get("pretrain")
    assert body["apiVersion"] == "trainer.kubeflow.org/v1alpha1" and len(body["metadata"]["name"]) < 40
    trainer = spec["trainer"]
    assert (trainer["image"], trainer["numNodes"], trainer["numProcPerNode"]) == ("site/modit-train:1", 2, 8)
    memory = f"{step.resources.memory_gb * 1024:.0f}Mi"
    assert trainer["resourcesPerNode"]["limits"] == {"memory": memory, "nvidia.com/gpu": "8"}
    command = ["python", "-m", "modit.training.launch", "-m", "--", "components", "pretrain"]
    more = ["--run", "s3://bucket/runs/a", "--conf", "{}", "--domain", "quality", "--result", "/dev/termination-log"]
    assert trainer["command"] == [*command, *more]
    shown = {each["name"]: each["value"] for each in trainer["env"] if "value" in each}
    assert shown["AWS_ENDPOINT_URL"] == "http://s3:9000" and shown["MODIT_CACHE"] == "/data/.cache/modit"
    secret = {each["valueFrom"]["secretKeyRef"]["name"] for each in trainer["env"] if "valueFrom" in each}
    assert secret == {"modit-artifact-store"} and "MODIT_REDIS" not in shown
    (patch,) = spec["runtimePatches"]
    (job,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = job["template"]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"gpu": "h100"} and pod["tolerations"][0]["key"] == "gpu"
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "modit-data"}
    assert spec["activeDeadlineSeconds"] == 7200 and "activeDeadlineSeconds" not in found["created"][1]["spec"]
    assert "hidden" not in json.dumps(found["created"])


def test_what_the_first_machine_returns_is_the_result_and_the_trainjob_goes(found):
    assert found["well"] == {"digest": "abc", "status": "ran", "step": "pretrain"}
    assert found["jobs_after_success"] == []
    assert "pretrain: step 1 of 2, loss 0.5" in found["log"]


def test_refusal_is_not_tried_again_and_any_other_failure_is(found):
    assert found["refused"].startswith("AirflowFailException: ")
    assert "--conf says 6" in found["refused"]
    assert found["broken"].startswith("AirflowException: ")
    assert "status 1: connection closed by peer" in found["broken"]
    assert found["large"].startswith("OutOfMemoryException: ")


def test_next_attempt_replaces_a_trainjob_that_failed(found):
    assert found["again"]["status"] == "ran"
    assert set(found["jobs_after_second_attempt"]) < set(found["broken_jobs"])


def test_killed_task_takes_its_trainjob_with_it(found):
    assert found["killed"].startswith("AirflowException: ") and "was deleted" in found["killed"]
    assert found["jobs_after_kill"] == found["jobs_after_second_attempt"]


def test_next_attempt_takes_up_a_trainjob_that_still_runs(found):
    assert found["adopted"] == {"digest": "abc", "status": "ran", "step": "pretrain"}
    assert len(found["created"]) == 7


def test_first_machine_is_asked_for_by_the_labels_of_jobset(found):
    for selector in found["selectors"]:
        labels = dict(pair.split("=") for pair in selector.split(","))
        assert labels["jobset.sigs.k8s.io/replicatedjob-name"] == "node"
        assert labels["batch.kubernetes.io/job-completion-index"] == "0"


def documents() -> dict[str, dict]:
    files = yaml.safe_load((TRAINER / "kustomization.yaml").read_text())["resources"]
    loaded = [content for name in files for content in yaml.safe_load_all((TRAINER / name).read_text())]
    return {content["kind"]: content for content in loaded}


def test_role_allows_all_that_is_asked_of_the_cluster_and_no_more(found):
    rules = documents()["Role"]["rules"]
    allowed = {(v, g, r) for rule in rules for v in rule["verbs"] for g in rule["apiGroups"] for r in rule["resources"]}
    assert {tuple(request) for request in found["asked"]} == allowed


def test_runtime_is_what_the_api_knows_and_has_no_rights(found):
    runtime = documents()["TrainingRuntime"]
    expect_known(models.TrainerV1alpha1TrainingRuntime, runtime)
    assert found["created"][0]["spec"]["runtimeRef"]["name"] == runtime["metadata"]["name"]
    (job,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    pod = job["template"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert job["name"] == container["name"] == "node"  # names that Kubeflow Trainer asks for
    assert pod["securityContext"]["runAsNonRoot"] and pod["automountServiceAccountToken"] is False
    assert "envFrom" not in container  # what a step needs is in its TrainJob
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts == {"tmp": "/tmp", "shared-memory": "/dev/shm"}
