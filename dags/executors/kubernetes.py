"""A step in a pod of its own, by the Kubernetes that the worker runs in or that its connection names."""

from __future__ import annotations

import os
from typing import Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk.exceptions import AirflowException
from kubernetes.client import models as k8s

from dags.executors import GPUS, IMAGES, TIMEOUT_SCALE, from_json, image_of
from dags.executors.step_task import Command, CommandTask, PythonTask, StepTask
from modit.core.services import handed_on, secret_name, services_of
from modit.core.step import Step

NAMESPACE = os.environ.get("MODIT_NAMESPACE", "modit")
SERVICE_ACCOUNT = os.environ.get("MODIT_SERVICE_ACCOUNT", "modit-step")
# A claim that all pods mount at /data, for runs that do not live on S3.
CLAIM = os.environ.get("MODIT_CLAIM")
# Name of a service's secret, whose keys are its variables.
SECRETS = os.environ.get("MODIT_SECRETS", "modit-{service}")
GPU = os.environ.get("MODIT_GPU_RESOURCE", "nvidia.com/gpu")
# Where pods that get an accelerator may run: JSON, an object of labels and a list of tolerations.
GPU_NODE_SELECTOR: dict[str, str] = from_json("MODIT_GPU_NODE_SELECTOR", dict)
GPU_TOLERATIONS: list[dict[str, Any]] = from_json("MODIT_GPU_TOLERATIONS", list)
# What keeps a pod's result until Airflow has read it; needs sh, cat, id and pgrep.
SIDECAR_IMAGE = os.environ.get("MODIT_XCOM_SIDECAR_IMAGE", "alpine:3.22")
# Airflow's own place for what a pod returns.
RESULT = "/airflow/xcom/return.json"
_USER = 10001
_RIGHTS = k8s.V1SecurityContext(
    read_only_root_filesystem=True,
    allow_privilege_escalation=False,
    capabilities=k8s.V1Capabilities(drop=["ALL"]),
    seccomp_profile=k8s.V1SeccompProfile(type="RuntimeDefault"),
)


class KubernetesTask(PythonTask, KubernetesPodOperator):
    """Runs a command as a pod."""

    def __init__(self, **kwargs: Any) -> None:
        """Takes what its base takes. A class without it gets other defaults in `partial` (3.3.2): `inlets` None."""
        super().__init__(**kwargs)

    @staticmethod
    def arguments_for(step: Step | Command) -> dict[str, Any]:
        """Image, resources, volumes, environment and rights of a step's pod."""
        scratch = [("tmp", "/tmp")]
        volumes = [k8s.V1Volume(name=name, empty_dir=k8s.V1EmptyDirVolumeSource()) for name, _ in scratch]
        mounts = [k8s.V1VolumeMount(name=name, mount_path=path) for name, path in scratch]
        if CLAIM:
            claim = k8s.V1PersistentVolumeClaimVolumeSource(claim_name=CLAIM)
            volumes.append(k8s.V1Volume(name="data", persistent_volume_claim=claim))
            mounts.append(k8s.V1VolumeMount(name="data", mount_path="/data"))
        return {
            "namespace": NAMESPACE,
            "name": step.name.replace("_", "-"),
            "image": image_of(step, IMAGES),
            "cmds": ["python"],
            "container_resources": resources_of(step),
            "volumes": volumes,
            "volume_mounts": mounts,
            "env_vars": variables_of(step),
            "service_account_name": SERVICE_ACCOUNT,
            "automount_service_account_token": False,
            "security_context": k8s.V1PodSecurityContext(run_as_non_root=True, run_as_user=_USER, fs_group=_USER),
            "container_security_context": _RIGHTS,
            **placement_of(step),
            # By this label network policies and queries know the pods of steps.
            "labels": {"app.kubernetes.io/component": "step"},
            "do_xcom_push": True,
            "on_finish_action": "delete_succeeded_pod",
            # Also where the worker that watches it is gone.
            "active_deadline_seconds": round(60 * step.timeout_minutes * TIMEOUT_SCALE),
        }

    def build_pod_request_obj(self, context: Any = None) -> k8s.V1Pod:
        """The provider's pod; its sidecar has no more rights than the step, and an image that a site can choose."""
        pod = super().build_pod_request_obj(context)
        for sidecar in pod.spec.containers[1:]:
            sidecar.image, sidecar.security_context = SIDECAR_IMAGE, _RIGHTS
            sidecar.resources.limits = {"memory": "64Mi"}
        return pod

    def execute(self, context: Any) -> Any:
        """Runs the pod and reads what it returns.

        Raises:
            AirflowException: it failed; which one is told by `failure`.
        """
        self.arguments = self.command_line("--result", RESULT)
        return self.result(super().execute(context))

    def cleanup(self, pod: k8s.V1Pod, remote_pod: k8s.V1Pod) -> None:
        """Deletes the pod where its end asks for that.

        Raises:
            AirflowException: it failed; which one is told by `failure`.
        """
        try:
            super().cleanup(pod, remote_pod)
        except AirflowException as error:
            ended = self._end_of_step(remote_pod)
            if ended is None:
                raise
            said = f"{remote_pod.status.reason or ended.reason}, see the pod's log: {error}"
            raise self.failure(ended.exit_code, said, ended.reason == "OOMKilled") from error

    def _end_of_step(self, pod: k8s.V1Pod) -> k8s.V1ContainerStateTerminated | None:
        """How the step's container ended; None where the pod ended before it."""
        found = [each for each in pod.status.container_statuses or [] if each.name == self.base_container_name]
        return found[0].state.terminated if found and found[0].state else None


def variables_of(step: Step | Command) -> list[k8s.V1EnvVar]:
    """Variables of a step's container: values that may be shown, and references to the secrets of its services.

    A secret may be missing, and so may a key: pods may have an identity, and a server need not ask who they are. But
    what the worker has as an address with a password must be there, else the step would go to another place.
    """
    handed = handed_on(step.needs, os.environ)
    shown = [k8s.V1EnvVar(name=name, value=value) for name, value in handed.shown.items()]
    return shown + [
        _reference(name, secret_name(SECRETS, service), optional=name in each.secrets or name not in handed.hidden)
        for service, each in services_of(step.needs).items()
        for name in each.variables
        if name not in handed.shown
    ]


def _reference(name: str, secret: str, optional: bool) -> k8s.V1EnvVar:
    key = k8s.V1SecretKeySelector(name=secret, key=name, optional=optional)
    return k8s.V1EnvVar(name=name, value_from=k8s.V1EnvVarSource(secret_key_ref=key))


def placement_of(step: Step | Command) -> dict[str, Any]:
    """Nodes for a step that gets an accelerator; any node for the others."""
    if not (GPUS and step.resources.gpus):
        return {}
    return {"node_selector": GPU_NODE_SELECTOR, "tolerations": GPU_TOLERATIONS}


def resources_of(step: Step | Command) -> k8s.V1ResourceRequirements:
    """Requests and limits of a step's container; memory is a limit, processor time is not."""
    memory, gpus = f"{step.resources.memory_gb * 1024:.0f}Mi", step.resources.gpus if GPUS else 0
    limits = {"memory": memory, **({GPU: str(gpus)} if gpus else {})}
    return k8s.V1ResourceRequirements(requests={"cpu": f"{step.resources.cpus:g}", "memory": memory}, limits=limits)


class KubernetesStep(StepTask, KubernetesTask):
    """Runs a step as a pod."""

    ui_color = "#ece4f7"

    def __init__(
        self, *, step: str, run_uri: str, conf: str, domain: str | None = None, shard: str | None = None, **kwargs: Any
    ) -> None:
        """Takes the fields of `StepTask`, and in `kwargs` what `KubernetesPodOperator` takes."""
        super().__init__(**kwargs)
        self.step, self.run_uri, self.conf, self.domain, self.shard = step, run_uri, conf, domain, shard


class KubernetesCommand(CommandTask, KubernetesTask):
    """Runs `modit COMMAND` as a pod."""

    def __init__(self, *, order: dict[str, Any], returns: bool = False, **kwargs: Any) -> None:
        """Takes the fields of `CommandTask`, and in `kwargs` what `KubernetesPodOperator` takes."""
        super().__init__(**kwargs)
        self.order, self.returns, self.do_xcom_push = order, returns, returns


OPERATOR = KubernetesStep
COMMAND_OPERATOR = KubernetesCommand
