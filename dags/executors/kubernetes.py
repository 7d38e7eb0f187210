"""A step in a pod of its own, by the Kubernetes that the worker runs in or that its connection names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from kubernetes.client import models as k8s

from dags.executors import image_of
from dags.executors.settings import GPUS, HANDED_ON, IMAGES, present
from dags.executors.step_task import FINAL, TEMPLATED, StepTask
from modit.core.step import Step

NAMESPACE = os.environ.get("MODIT_NAMESPACE", "modit")
SERVICE_ACCOUNT = os.environ.get("MODIT_SERVICE_ACCOUNT", "modit-step")
# A claim that all pods mount at /data, for runs that do not live on S3.
CLAIM = os.environ.get("MODIT_CLAIM")
# A Kubernetes secret whose keys become variables: the keys of the store, the address of MLflow's database.
CREDENTIALS = os.environ.get("MODIT_CREDENTIALS_SECRET", "modit-credentials")
GPU = os.environ.get("MODIT_GPU_RESOURCE", "nvidia.com/gpu")
# Airflow's own place for what a pod returns.
RESULT = "/airflow/xcom/return.json"
_USER = 10001


class KubernetesStep(StepTask, KubernetesPodOperator):
    """Runs a step as a pod."""

    template_fields: Sequence[str] = TEMPLATED
    template_fields_renderers = {"conf": "json"}
    ui_color = "#ece4f7"

    def __init__(
        self, *, step: str, run_uri: str, conf: str, domain: str | None = None, shard: str | None = None, **kwargs: Any
    ) -> None:
        """Takes the fields of `StepTask`, and in `kwargs` what `KubernetesPodOperator` takes."""
        super().__init__(**kwargs)
        self.step, self.run_uri, self.conf, self.domain, self.shard = step, run_uri, conf, domain, shard

    @staticmethod
    def arguments_for(step: Step) -> dict[str, Any]:
        """Image, resources, volumes, environment and rights of a step's pod."""
        scratch = [("tmp", "/tmp")]
        volumes = [k8s.V1Volume(name=name, empty_dir=k8s.V1EmptyDirVolumeSource()) for name, _ in scratch]
        mounts = [k8s.V1VolumeMount(name=name, mount_path=path) for name, path in scratch]
        if CLAIM:
            claim = k8s.V1PersistentVolumeClaimVolumeSource(claim_name=CLAIM)
            volumes.append(k8s.V1Volume(name="data", persistent_volume_claim=claim))
            mounts.append(k8s.V1VolumeMount(name="data", mount_path="/data"))
        secret = k8s.V1SecretEnvSource(name=CREDENTIALS, optional=True)
        return {
            "namespace": NAMESPACE,
            "name": step.name.replace("_", "-"),
            "image": image_of(step, IMAGES),
            "cmds": ["python"],
            "container_resources": resources_of(step),
            "volumes": volumes,
            "volume_mounts": mounts,
            "env_vars": present(HANDED_ON),
            "env_from": [k8s.V1EnvFromSource(secret_ref=secret)],
            "service_account_name": SERVICE_ACCOUNT,
            "automount_service_account_token": False,
            "security_context": k8s.V1PodSecurityContext(run_as_non_root=True, run_as_user=_USER, fs_group=_USER),
            "container_security_context": k8s.V1SecurityContext(
                read_only_root_filesystem=True,
                allow_privilege_escalation=False,
                capabilities=k8s.V1Capabilities(drop=["ALL"]),
                seccomp_profile=k8s.V1SeccompProfile(type="RuntimeDefault"),
            ),
            "do_xcom_push": True,
            "on_finish_action": "delete_succeeded_pod",
            # A refusal must not be retried; the provider has an end without retry for a skip only.
            "skip_on_exit_code": FINAL,
        }

    def execute(self, context: Any) -> dict[str, Any] | list[str]:
        """Runs the pod and reads what it returns.

        Raises:
            AirflowFailException: the step refused; trying again changes nothing.
            AirflowException: it failed in another way.
        """
        self.arguments = self.command_line("--result", RESULT)
        try:
            found = super().execute(context)
        except AirflowSkipException as error:
            raise AirflowFailException(f"step {self.step} refused, see the pod's log: {error}") from error
        return self.result(found)


def resources_of(step: Step) -> k8s.V1ResourceRequirements:
    """Requests and limits of a step's container; memory is a limit, processor time is not."""
    memory, gpus = f"{step.resources.memory_gb * 1024:.0f}Mi", step.resources.gpus if GPUS else 0
    limits = {"memory": memory, **({GPU: str(gpus)} if gpus else {})}
    return k8s.V1ResourceRequirements(requests={"cpu": f"{step.resources.cpus:g}", "memory": memory}, limits=limits)


OPERATOR = KubernetesStep
