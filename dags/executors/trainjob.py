"""A step that several machines train together: a TrainJob of Kubeflow Trainer, followed until it ends."""

from __future__ import annotations

import time
from functools import cached_property
from typing import Any

from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
from airflow.providers.cncf.kubernetes.utils.pod_manager import (
    PodManager,
    container_is_running,
    container_is_terminated,
    get_container_status,
)
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException
from kubernetes.client import ApiException
from kubernetes.client import models as k8s

from dags.executors.kubernetes import NAMESPACE
from dags.executors.step_task import StepTask
from dags.executors.trainjob_manifest import (
    NODE,
    RESOURCE,
    RESULT,
    first_pod_labels,
    job_name,
    manifest,
    pod_of,
    trainer_of,
)
from modit.core.step import Step

ENDS = ("Complete", "Failed")
_POLL_SECONDS = 5.0


class TrainJobStep(StepTask, BaseOperator):
    """Runs a step as a TrainJob. A task that is tried again takes up its TrainJob where that still runs.

    Attributes:
        trainer: the TrainJob's `spec.trainer`, but for its command.
        pod: what it patches of the runtime's pods.
        job: name of the TrainJob, once the task runs.
    """

    ui_color = "#f7ece4"

    def __init__(
        self,
        *,
        step: str,
        run_uri: str,
        conf: str,
        trainer: dict[str, Any],
        pod: dict[str, Any],
        domain: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Takes the fields of `StepTask`, its own, and in `kwargs` what every operator takes."""
        super().__init__(**kwargs)
        self.step, self.run_uri, self.conf, self.domain, self.shard = step, run_uri, conf, domain, None
        self.trainer, self.pod, self.job = trainer, pod, ""

    @staticmethod
    def arguments_for(step: Step) -> dict[str, Any]:
        """What the executor takes from the declaration."""
        return {"trainer": trainer_of(step), "pod": pod_of(step)}

    @cached_property
    def hook(self) -> KubernetesHook:
        """The cluster that the worker runs in, or that Airflow's connection names."""
        return KubernetesHook(conn_id=KubernetesHook.default_conn_name)

    def execute(self, context: Any) -> dict[str, Any] | list[str]:
        """Runs the TrainJob to its end and reads what the first machine's container returns.

        Raises:
            AirflowException: the step failed; which one is told by `StepTask.failure`.
        """
        task = context["ti"]
        self.job = job_name(self.step, task.dag_id, task.run_id, task.task_id, task.map_index)
        self._start()
        end, ended = self._follow(), self._end_of_first_pod()
        said = (ended.message or "").strip() if ended else ""
        if end["type"] == "Failed":
            why = f"{said} (TrainJob {self.job}: {end.get('reason')}, {end.get('message')})"
            status, reason = (ended.exit_code, ended.reason) if ended else (1, None)
            raise self.failure(status, why, reason == "OOMKilled")
        if not said:
            raise AirflowException(f"step {self.step}: TrainJob {self.job} is complete, but its first pod is gone")
        self._delete()
        return self.result(said)

    def on_kill(self) -> None:
        """Ends the TrainJob with all its pods."""
        if self.job:
            self._delete()

    def _start(self) -> None:
        """Creates the TrainJob, unless an attempt before this one left it running."""
        existing = self._read()
        if existing is not None and _end_of(existing) is None:
            self.log.info("TrainJob %s runs already: following it", self.job)
            return
        if existing is not None:
            self._delete()
            while self._read() is not None:
                time.sleep(_POLL_SECONDS)
        deadline = self.execution_timeout.total_seconds() if self.execution_timeout else None
        body = manifest(self.job, self.trainer, self.pod, self.command_line("--result", RESULT), deadline)
        self.hook.create_custom_object(**RESOURCE, body=body, namespace=NAMESPACE)

    def _follow(self) -> dict[str, Any]:
        """Shows the first machine's log until the TrainJob has ended; returns the condition that says so."""
        shown = False
        while True:
            job, pod = self._read(), self._first_pod()
            if job is None:
                raise AirflowException(f"step {self.step}: TrainJob {self.job} was deleted")
            end = _end_of(job)
            if not shown and pod is not None and _has_log(pod):
                self._show_log(pod, follow=end is None)
                shown = True
            if end is not None:
                return end
            time.sleep(_POLL_SECONDS)

    def _show_log(self, pod: k8s.V1Pod, follow: bool) -> None:
        try:
            PodManager(self.hook.core_v1_client).fetch_container_logs(pod, NODE, follow=follow)
        except ApiException as error:
            if error.status != 404:  # the pod went while it was followed: the TrainJob says what that means
                raise

    def _end_of_first_pod(self) -> k8s.V1ContainerStateTerminated | None:
        """How the first machine's container ended, with what it returned or said last; None where its pod is gone."""
        pod = self._first_pod()
        status = get_container_status(pod, NODE) if pod is not None else None
        return status.state.terminated if status is not None and status.state is not None else None

    def _first_pod(self) -> k8s.V1Pod | None:
        selector = ",".join(f"{label}={value}" for label, value in first_pod_labels(self.job).items())
        pods = self.hook.core_v1_client.list_namespaced_pod(NAMESPACE, label_selector=selector).items
        return max(pods, key=lambda pod: pod.metadata.creation_timestamp, default=None)

    def _read(self) -> dict[str, Any] | None:
        try:
            return self.hook.get_custom_object(**RESOURCE, name=self.job, namespace=NAMESPACE)
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def _delete(self) -> None:
        try:
            self.hook.delete_custom_object(**RESOURCE, name=self.job, namespace=NAMESPACE)
        except ApiException as error:
            if error.status != 404:
                raise


def _end_of(job: dict[str, Any]) -> dict[str, Any] | None:
    """The condition of a TrainJob that has ended, or None."""
    conditions = job.get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] in ENDS and each["status"] == "True"), None)


def _has_log(pod: k8s.V1Pod) -> bool:
    return container_is_running(pod, NODE) or container_is_terminated(pod, NODE)


OPERATOR = TrainJobStep
