"""A step in a container of its own, by the Docker engine that the worker reaches."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from airflow.providers.docker.exceptions import DockerContainerFailedSkipException
from airflow.providers.docker.operators.docker import DockerOperator
from airflow.sdk.exceptions import AirflowFailException
from docker.types import DeviceRequest, Mount

from dags.executors import image_of
from dags.executors.settings import GPUS, HANDED_ON, IMAGES, SECRET, present
from dags.executors.step_task import FINAL, TEMPLATED, StepTask
from modit.core.step import Step

# Folders of the host that containers see under the same path: runs and catalogues. With a store on S3 there is none.
VOLUMES = tuple(filter(None, os.environ.get("MODIT_DOCKER_VOLUMES", os.environ.get("MODIT_RUNS", "")).split(",")))
NETWORK = os.environ.get("MODIT_DOCKER_NETWORK", "bridge")
# Who writes into these folders: the image's own user, or UID:GID.
USER = os.environ.get("MODIT_DOCKER_USER")


class DockerStep(StepTask, DockerOperator):
    """Runs a step in its image."""

    template_fields: Sequence[str] = TEMPLATED
    template_fields_renderers = {"conf": "json"}
    ui_color = "#e4ecf7"

    def __init__(
        self, *, step: str, run_uri: str, conf: str, domain: str | None = None, shard: str | None = None, **kwargs: Any
    ) -> None:
        """Takes the fields of `StepTask`, and in `kwargs` what `DockerOperator` takes."""
        super().__init__(**kwargs)
        self.step, self.run_uri, self.conf, self.domain, self.shard = step, run_uri, conf, domain, shard

    @staticmethod
    def arguments_for(step: Step) -> dict[str, Any]:
        """Image, resources, volumes and environment of a step's container."""
        gpus = step.resources.gpus if GPUS else 0
        return {
            "image": image_of(step, IMAGES),
            "cpus": step.resources.cpus,
            "mem_limit": f"{step.resources.memory_gb:g}g",
            "device_requests": [DeviceRequest(count=gpus, capabilities=[["gpu"]])] if gpus else None,
            "mounts": [Mount(target=folder, source=folder, type="bind") for folder in VOLUMES],
            "environment": present(HANDED_ON),
            "private_environment": present(SECRET),
            "network_mode": NETWORK,
            "user": USER,
            "mount_tmp_dir": False,
            "auto_remove": "force",
            # A refusal must not be retried; Docker's operator has an end without retry for a skip only.
            "skip_on_exit_code": FINAL,
        }

    def execute(self, context: Any) -> dict[str, Any] | list[str]:
        """Runs the container and reads its last line.

        Raises:
            AirflowFailException: the step refused; trying again changes nothing.
            DockerContainerFailedException: it failed in another way.
        """
        self.command = ["python", *self.command_line()]
        try:
            last = super().execute(context)
        except DockerContainerFailedSkipException as error:
            raise AirflowFailException(
                f"step {self.step} refused: {error.logs[-1] if error.logs else error}"
            ) from error
        return self.result(str(last))


OPERATOR = DockerStep
