"""The same DAG on three executors: image, command, resources and rights of a task come from the step's declaration."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
from podrules import breaches

from components.registry import REGISTRY

pytest.importorskip("airflow", reason="needs the extra `airflow`")

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    "MODIT_SHARDS": "3",
    "MODIT_GPUS": "1",
    "MODIT_CLAIM": "modit-data",
    "MODIT_RUNS": "/data/runs",
    "MODIT_IMAGES": "site/modit-{image}:1",
    "AWS_ENDPOINT_URL": "http://objects:8333",
    "AWS_ACCESS_KEY_ID": "hidden",
    "AWS_SECRET_ACCESS_KEY": "hidden",
    "MLFLOW_TRACKING_URI": "postgresql://modit:hidden@db/mlflow",
    "MLFLOW_TRACKING_TOKEN": "hidden",
    "MODIT_FEATURES": "/data/features",
    "MODIT_REDIS": "redis:6379,password=hidden",
    "MODIT_SECRETS": "site-{service}",
    "OMP_NUM_THREADS": "1",
    "MODIT_XCOM_SIDECAR_IMAGE": "site/sidecar:1",
    "MODIT_GPU_NODE_SELECTOR": '{"site/accelerator": "h200"}',
    "MODIT_GPU_TOLERATIONS": '[{"key": "site/accelerator", "operator": "Exists", "tolerationSeconds": 60}]',
}

# A cluster that nobody connects to: the provider wants to know of one before it builds a pod.
CLUSTER = """
apiVersion: v1
kind: Config
clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: nobody, user: {}}]
contexts: [{name: none, context: {cluster: none, user: nobody}}]
current-context: none
"""

# Run in a fresh interpreter for each executor, with the real provider classes: every task as its engine gets it.
LOOK = """
import json, runpy, sys
from airflow.sdk import DAG
file = runpy.run_path("dags/pipeline_dags.py")
dag = file["nightly_retrain"]
dags = {each.dag_id: each for each in file.values() if isinstance(each, DAG)}.values()
executor = sys.argv[1]

def fields(task):
    axes = {"domain": "quality", "shard": "2/3"}
    axes = {name: axes[name] for name in task.expand_input.value} if task.is_mapped else {}
    operator = task.unmap(axes) if task.is_mapped else task
    operator.run_uri, operator.conf = "/data/runs/a", "{}"
    if executor == "docker":
        mounts = [[m["Source"], m["Target"]] for m in operator.mounts]
        requests = operator.device_requests or []
        from docker import APIClient
        operator.hook.__dict__["api_client"] = APIClient("tcp://127.0.0.1:1", version="1.44")  # no engine is asked
        host = operator.cli.create_host_config(mounts=operator.mounts, privileged=operator.privileged)
        return {"host": host, "image": operator.image, "command": operator.command_line(), "memory": operator.mem_limit,
                "gpus": sum(r["Count"] for r in requests), "cpus": operator.cpus, "mounts": mounts,
                "shown": operator.environment, "hidden": operator._private_environment}
    if executor == "kubernetes":
        from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
        from kubernetes.client import ApiClient
        operator.arguments = operator.command_line("--result", "/airflow/xcom/return.json")
        operator.in_cluster = False
        return ApiClient().sanitize_for_serialization(operator.build_pod_request_obj())
    return {"command": operator.command_line()}

commands = ("prepare_reviews", "release.carry_out")
every = {task.task_id: task for each in dags for task in each.tasks}.values()
steps = [task for task in every if task.task_id not in (*commands, "release.review", "all_domains")]
tasks = {task.task_id: fields(task) for task in steps}
for name in commands:
    task = dag.get_task(name)
    options = {"run": "/data/runs/a", "by": "A B", "reason": ""}
    task.order = {"command": "approve", "of": "modit-quality/3", "options": options}
    tasks[name] = fields(task)
edges = sorted((earlier, task.task_id) for task in every for earlier in task.upstream_task_ids)
def kept(task):
    first = task.retry_policy.rules[0]
    rule = [first.exception_path, first.action.value, first.retry_delay.seconds]
    notices = [type(callback).__name__ for callback in task.on_failure_callback]
    return {"retries": task.retries, "minutes": task.execution_timeout.total_seconds() / 60, "rule": rule,
            "notices": notices}

(deadline,) = dag.deadline if isinstance(dag.deadline, list) else [dag.deadline]
print(json.dumps({"tasks": tasks, "edges": edges, "kept": {task.task_id: kept(task) for task in steps},
                  "deadline": [deadline.reference.reference_name, deadline.interval.total_seconds() / 3600]}))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    pytest.importorskip("airflow.providers.docker", reason="needs the extra `containers`")
    pytest.importorskip("airflow.providers.cncf.kubernetes", reason="needs the extra `containers`")
    home = tmp_path_factory.mktemp("airflow")
    (home / "cluster.yaml").write_text(CLUSTER)
    found = {}
    for executor in ("process", "docker", "kubernetes"):
        environment = {**os.environ, **ENVIRONMENT, "AIRFLOW_HOME": str(home), "MODIT_EXECUTOR": executor}
        environment["KUBECONFIG"] = str(home / "cluster.yaml")
        command = [sys.executable, "-c", LOOK, executor]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        found[executor] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_graph_the_retries_and_the_timeouts_are_the_same_on_every_executor(seen):
    rule = ["dags.executors.step_task.OutOfMemoryException", "retry", 5]
    for executor in ("process", "docker", "kubernetes"):
        assert seen[executor]["edges"] == seen["process"]["edges"]
        assert seen[executor]["deadline"] == ["DagRunQueuedAtDeadline", 12]
        for step in REGISTRY.steps:
            expected = {"retries": step.retries, "minutes": step.timeout_minutes, "rule": rule}
            assert seen[executor]["kept"][step.name] == {**expected, "notices": ["FailureNotice"]}


def test_a_step_may_run_out_of_memory_twice_before_it_fails():
    assert min(step.retries for step in REGISTRY.steps) >= 2


# How a pod ended, as Kubernetes tells it -> the error that its task fails with.
ENDED = """
import json, sys
from kubernetes.client import models as k8s
from dags.executors.kubernetes import KubernetesStep

def ended(code, reason, pod_reason=None):
    step = KubernetesStep(task_id="pretrain", step="pretrain", run_uri="r", conf="{}", in_cluster=False)
    terminated = k8s.V1ContainerStateTerminated(exit_code=code, reason=reason)
    base = k8s.V1ContainerStatus(name="base", image="i", image_id="i", ready=False, restart_count=0,
                                 state=k8s.V1ContainerState(terminated=terminated))
    other = k8s.V1ContainerStatus(name="airflow-xcom-sidecar", image="i", image_id="i", ready=True, restart_count=0)
    status = k8s.V1PodStatus(phase="Failed", container_statuses=[other, base], reason=pod_reason)
    try:
        step.cleanup(None, k8s.V1Pod(metadata=k8s.V1ObjectMeta(name="p", namespace="n"), status=status))
    except Exception as error:
        return type(error).__name__, str(error).splitlines()[0]

print(json.dumps([ended(137, "OOMKilled"), ended(4, "Error"), ended(3, "Error"), ended(1, "Error"),
                  ended(137, "Error", "DeadlineExceeded")]))
"""


def test_why_a_pod_ended_decides_whether_its_task_is_tried_again(tmp_path):
    pytest.importorskip("airflow.providers.cncf.kubernetes", reason="needs the extra `containers`")
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "cluster.yaml")}
    done = subprocess.run([sys.executable, "-c", ENDED], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    killed, said, refused, failed, late = json.loads(done.stdout.splitlines()[-1])
    assert killed[0] == said[0] == "OutOfMemoryException" and "status 137" in killed[1] and "status 4" in said[1]
    assert refused[0] == "AirflowFailException"
    assert failed[0] == late[0] == "AirflowException" and "DeadlineExceeded" in late[1]


@pytest.mark.parametrize("step", REGISTRY.steps, ids=lambda step: step.name)
def test_a_container_has_what_the_declaration_says(seen, step):
    task = seen["docker"]["tasks"][step.name]
    assert task["image"] == f"site/modit-{step.image}:1"
    assert (task["memory"], task["cpus"]) == (f"{step.resources.memory_gb:g}g", step.resources.cpus)
    assert task["gpus"] == step.resources.gpus
    assert task["mounts"] == [["/data/runs", "/data/runs"]]


# Variable -> the service that it is of, as the environment above has them.
KEYS = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "artifact_store")
REGISTRY_KEYS = dict.fromkeys(("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN"), "registry")
REDIS_KEYS = {"MODIT_REDIS": "feature_store"}
# What tasks hold beside the keys of the store; all others hold nothing more.
HELD = {
    "fetch_champion": REGISTRY_KEYS,
    "fetch_next_item_champion": REGISTRY_KEYS,
    "fetch_search_champion": REGISTRY_KEYS,
    "fetch_fan_out_champion": REGISTRY_KEYS,
    "fetch_starting_point": REGISTRY_KEYS,
    "publish_features": REGISTRY_KEYS | REDIS_KEYS,
    "register": REGISTRY_KEYS,
    "register_next_item": REGISTRY_KEYS,
    "register_search": REGISTRY_KEYS,
    "register_fan_out": REGISTRY_KEYS,
    "prepare_reviews": REGISTRY_KEYS,
    "release.carry_out": REGISTRY_KEYS,
}
TASKS = (*REGISTRY.by_name, "prepare_reviews", "release.carry_out")


@pytest.mark.parametrize("task", TASKS)
def test_a_container_holds_the_secrets_of_what_its_step_reaches_and_no_others(seen, task):
    found = seen["docker"]["tasks"][task]
    assert found["hidden"] == {name: ENVIRONMENT[name] for name in KEYS | HELD.get(task, {})}
    features = {"MODIT_FEATURES": "/data/features"} if task == "publish_features" else {}
    store = {"AWS_ENDPOINT_URL": "http://objects:8333", "OMP_NUM_THREADS": "1"}
    assert {**store, **features}.items() <= found["shown"].items()
    assert not set(found["shown"]) & {*KEYS, *REGISTRY_KEYS, *REDIS_KEYS}
    assert ("MODIT_FEATURES" in found["shown"]) is bool(features)


@pytest.mark.parametrize("task", TASKS)
def test_a_pod_refers_to_the_secrets_of_what_its_step_reaches_and_shows_no_value(seen, task):
    pod = seen["kubernetes"]["tasks"][task]
    assert "hidden" not in json.dumps(pod)
    container = next(each for each in pod["spec"]["containers"] if each["name"] == "base")
    assert not container.get("envFrom")
    values = {each["name"]: each["value"] for each in container["env"] if "value" in each}
    assert values["AWS_ENDPOINT_URL"] == "http://objects:8333" and values["OMP_NUM_THREADS"] == "1"
    assert ("MODIT_FEATURES" in values) is (task == "publish_features")
    references = {each["name"]: each["valueFrom"]["secretKeyRef"] for each in container["env"] if "valueFrom" in each}
    assert all(name == reference["key"] for name, reference in references.items())
    services = {"artifact_store", *HELD.get(task, {}).values()}
    assert {each["name"] for each in references.values()} == {f"site-{name.replace('_', '-')}" for name in services}
    for name, service in (KEYS | HELD.get(task, {})).items():
        assert references[name]["name"] == f"site-{service.replace('_', '-')}"
    # An identity may stand for keys; an address with a password that is not there would be another place.
    required = {name for name, each in references.items() if not each["optional"]}
    assert required == {"MLFLOW_TRACKING_URI", "MODIT_REDIS"} & set(HELD.get(task, {}))


@pytest.mark.parametrize("task", TASKS)
def test_a_container_has_no_rights_and_writes_to_its_scratch_and_its_mounts_alone(seen, task):
    host = seen["docker"]["tasks"][task]["host"]
    assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and host["SecurityOpt"] == ["no-new-privileges"]
    assert not host.get("Privileged")
    mounts = {mount["Target"]: (mount["Type"], mount["Source"]) for mount in host["Mounts"]}
    assert mounts == {"/tmp": ("volume", None), "/data/runs": ("bind", "/data/runs")}


def test_root_may_not_be_the_user_of_containers():
    environment = {**os.environ, "MODIT_DOCKER_USER": "0:0"}
    command = [sys.executable, "-c", "import dags.executors.docker"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert "MODIT_DOCKER_USER is '0:0'; allowed: any user but root" in done.stderr


@pytest.mark.parametrize("step", REGISTRY.steps, ids=lambda step: step.name)
def test_a_pod_has_what_the_declaration_says_and_no_rights_that_it_does_not_need(seen, step):
    pod = seen["kubernetes"]["tasks"][step.name]
    spec = pod["spec"]
    container = next(each for each in spec["containers"] if each["name"] == "base")
    assert container["image"] == f"site/modit-{step.image}:1"
    assert container["command"] == ["python"]
    domain = ["--domain", "quality"] if step.per_domain else []
    shard = ["--shard", "2/3"] if step.sharded else []
    expected = ["-m", "components", step.name, "--run", "/data/runs/a", "--conf", "{}", *domain, *shard]
    assert container["args"] == [*expected, "--result", "/airflow/xcom/return.json"]
    memory = f"{step.resources.memory_gb * 1024:.0f}Mi"
    gpus = {"nvidia.com/gpu": str(step.resources.gpus)} if step.resources.gpus else {}
    assert container["resources"]["limits"] == {"memory": memory, **gpus}
    assert container["resources"]["requests"] == {"cpu": f"{step.resources.cpus:g}", "memory": memory}
    rights = container["securityContext"]
    assert rights["readOnlyRootFilesystem"] and not rights["allowPrivilegeEscalation"]
    assert spec["activeDeadlineSeconds"] == 60 * step.timeout_minutes
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert spec["securityContext"]["runAsNonRoot"] and spec["automountServiceAccountToken"] is False
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "modit-data"}} in spec["volumes"]
    assert {"name": "data", "mountPath": "/data"} in container["volumeMounts"]


def test_a_command_runs_where_the_steps_run_and_only_one_that_returns_something_writes_it(seen):
    command = ["-m", "modit.cli", "approve", "modit-quality/3", "--run=/data/runs/a", "--by=A B"]
    for executor in ("process", "docker"):
        assert seen[executor]["tasks"]["release.carry_out"]["command"] == command
    assert seen["docker"]["tasks"]["release.carry_out"]["image"] == "site/modit-release:1"
    pods = {name: seen["kubernetes"]["tasks"][name]["spec"] for name in ("prepare_reviews", "release.carry_out")}
    first, last = (spec["containers"] for spec in pods.values())
    assert [each["name"] for each in last] == ["base"] and last[0]["args"] == command
    assert first[0]["args"] == [*command, "--result", "/airflow/xcom/return.json"] and len(first) == 2
    assert last[0]["image"] == "site/modit-release:1" and last[0]["securityContext"] == first[0]["securityContext"]


@pytest.mark.parametrize("step", REGISTRY.steps, ids=lambda step: step.name)
def test_only_pods_with_an_accelerator_are_placed_on_its_nodes(seen, step):
    spec = seen["kubernetes"]["tasks"][step.name]["spec"]
    toleration = {"key": "site/accelerator", "operator": "Exists", "tolerationSeconds": 60}
    assert spec.get("nodeSelector", {}) == ({"site/accelerator": "h200"} if step.resources.gpus else {})
    assert spec.get("tolerations", []) == ([toleration] if step.resources.gpus else [])


@pytest.mark.parametrize("step", REGISTRY.steps, ids=lambda step: step.name)
def test_every_container_of_a_pod_has_the_sites_image_a_limit_and_no_rights(seen, step):
    pod = seen["kubernetes"]["tasks"][step.name]
    base, sidecar = pod["spec"]["containers"]
    assert sidecar["image"] == "site/sidecar:1"
    assert sidecar["securityContext"] == base["securityContext"]
    assert sidecar["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert sidecar["resources"]["limits"]["memory"] == "64Mi"
    assert pod["metadata"]["labels"]["app.kubernetes.io/component"] == "step"


@pytest.mark.parametrize("step", REGISTRY.steps, ids=lambda step: step.name)
def test_a_namespace_of_restricted_pods_takes_the_pod_of_a_step(seen, step):
    pod = seen["kubernetes"]["tasks"][step.name]
    assert breaches(pod["spec"]) == []
    kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("text", ["[]", "gpu=yes"])
def test_a_node_selector_that_is_no_json_object_is_refused_by_name(monkeypatch, text):
    from dags.executors import from_json

    monkeypatch.setenv("MODIT_GPU_NODE_SELECTOR", text)
    with pytest.raises(ValueError, match="MODIT_GPU_NODE_SELECTOR is .*; allowed: a JSON object"):
        from_json("MODIT_GPU_NODE_SELECTOR", dict)


def test_an_unknown_executor_is_refused_by_name():
    from dags.executors import operator_of

    with pytest.raises(ValueError, match="MODIT_EXECUTOR is 'podman'; allowed: process, docker, kubernetes"):
        operator_of("podman", REGISTRY.steps[0])
