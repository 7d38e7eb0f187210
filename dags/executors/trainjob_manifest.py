"""What a step's TrainJob is: the object that Kubeflow Trainer is sent; infra/kubernetes/trainer has what it names."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from kubernetes.client import ApiClient
from kubernetes.client import models as k8s

from dags.executors import IMAGES, image_of, team_of
from dags.executors.kubernetes import CLAIM, GPU, NAMESPACE, placement_of, variables_of
from modit.core.step import Step

# Group, version and plural of the resource, as Airflow's hook wants them.
RESOURCE = {"group": "trainer.kubeflow.org", "version": "v1alpha1", "plural": "trainjobs"}
# What a training pod is in this cluster.
RUNTIME = os.environ.get("MODIT_TRAINING_RUNTIME", "modit-train")
# The runtime's replicated job and its container have the name that Kubeflow Trainer asks for.
NODE = "node"
# The kubelet keeps what the first machine's container writes here in the pod's status.
RESULT = "/dev/termination-log"
LAUNCHER = ["python", "-m", "modit.training.launch", "-m", "--"]


def trainer_of(step: Step) -> dict[str, Any]:
    """Image, machines, processes, resources and variables of a step's TrainJob."""
    nodes, gpus = team_of(step)
    memory = f"{step.resources.memory_gb * 1024:.0f}Mi"
    variables = variables_of(step)
    if CLAIM and all(each.name != "MODIT_CACHE" for each in variables):  # checkpoints of a run on S3 survive a pod
        variables.append(k8s.V1EnvVar(name="MODIT_CACHE", value="/data/.cache/modit"))
    return {
        "image": image_of(step, IMAGES),
        "numNodes": nodes,
        "numProcPerNode": max(1, gpus),
        "resourcesPerNode": {
            "requests": {"cpu": f"{step.resources.cpus:g}", "memory": memory},
            "limits": {"memory": memory, **({GPU: str(gpus)} if gpus else {})},
        },
        "env": ApiClient().sanitize_for_serialization(variables),
    }


def pod_of(step: Step) -> dict[str, Any]:
    """What every pod of a step's TrainJob has beside the runtime: nodes to run on, and the claim at /data."""
    placement = placement_of(step)
    patch = {"nodeSelector": placement.get("node_selector"), "tolerations": placement.get("tolerations")}
    if CLAIM:
        patch["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": CLAIM}}]
        patch["containers"] = [{"name": NODE, "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]
    return {name: value for name, value in patch.items() if value}


def manifest(
    name: str, trainer: dict[str, Any], pod: dict[str, Any], command_line: list[str], deadline: float | None
) -> dict[str, Any]:
    """A TrainJob.

    Args:
        name: of `job_name`.
        trainer: of `trainer_of`.
        pod: of `pod_of`.
        command_line: arguments of `python`, `-m components ...`, that each process of the team runs.
        deadline: seconds until the cluster ends the job, even if no process watches it; None for no limit.
    """
    spec: dict[str, Any] = {
        "runtimeRef": {"apiGroup": RESOURCE["group"], "kind": "TrainingRuntime", "name": RUNTIME},
        "trainer": {**trainer, "command": [*LAUNCHER, *command_line[1:]]},
    }
    if pod:
        jobs = [{"name": NODE, "template": {"spec": {"template": {"spec": pod}}}}]
        patch = {"template": {"spec": {"replicatedJobs": jobs}}}
        spec["runtimePatches"] = [{"manager": "modit", "trainingRuntimeSpec": patch}]
    if deadline:
        spec["activeDeadlineSeconds"] = int(deadline)
    return {
        "apiVersion": f"{RESOURCE['group']}/{RESOURCE['version']}",
        "kind": "TrainJob",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app.kubernetes.io/part-of": "modit"}},
        "spec": spec,
    }


def job_name(step: str, *instance: object) -> str:
    """Name of a task instance's TrainJob, the same for each of its attempts, short enough for names of pods."""
    digest = hashlib.sha256("/".join(map(str, instance)).encode()).hexdigest()[:10]
    return f"{step.replace('_', '-')}-{digest}"


def first_pod_labels(name: str) -> dict[str, str]:
    """Labels of the pod of a TrainJob's first machine."""
    return {
        "jobset.sigs.k8s.io/jobset-name": name,
        "jobset.sigs.k8s.io/replicatedjob-name": NODE,
        "batch.kubernetes.io/job-completion-index": "0",
    }
