"""A step in a container of its own, by the Docker engine that the worker reaches."""

from __future__ import annotations

import contextlib
import os
from functools import cached_property
from typing import Any

from airflow.providers.docker.exceptions import DockerContainerFailedException
from airflow.providers.docker.operators.docker import DockerOperator
from docker import APIClient
from docker.errors import NotFound
from docker.types import DeviceRequest, Mount

from dags.executors import GPUS, IMAGES, image_of
from dags.executors.step_task import Command, CommandTask, PythonTask, StepTask
from modit.core.services import handed_on
from modit.core.step import Step

# What containers see of the host: FOLDER under its own path, or SOURCE:TARGET[:ro], of a folder or a named volume.
VOLUMES = tuple(filter(None, os.environ.get("MODIT_DOCKER_VOLUMES", os.environ.get("MODIT_RUNS", "")).split(",")))
NETWORK = os.environ.get("MODIT_DOCKER_NETWORK", "bridge")
# Who writes into these folders: the image's own user, or UID:GID.
USER = os.environ.get("MODIT_DOCKER_USER")
if (USER or "").partition(":")[0] in ("0", "root"):
    raise ValueError(f"MODIT_DOCKER_USER is {USER!r}; allowed: any user but root")
# The provider's operator (4.6.1) has no arguments for this.
RIGHTS = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"]}
# A volume that goes with the container: on disk, as that of a pod. A tmpfs would count as the step's memory.
SCRATCH = Mount(target="/tmp", source=None, type="volume")


class DockerTask(PythonTask, DockerOperator):
    """Runs a command in an image."""

    def __init__(self, **kwargs: Any) -> None:
        """Takes what its base takes. A class without it gets other defaults in `partial` (3.3.2): `inlets` None."""
        super().__init__(**kwargs)

    @staticmethod
    def arguments_for(step: Step | Command) -> dict[str, Any]:
        """Image, resources, volumes and environment of a step's container."""
        gpus = step.resources.gpus if GPUS else 0
        handed = handed_on(step.needs, os.environ)
        return {
            "image": image_of(step, IMAGES),
            "cpus": step.resources.cpus,
            "mem_limit": f"{step.resources.memory_gb:g}g",
            "device_requests": [DeviceRequest(count=gpus, capabilities=[["gpu"]])] if gpus else None,
            "mounts": [mount(volume) for volume in VOLUMES],
            "environment": handed.shown,
            "private_environment": handed.hidden,
            "network_mode": NETWORK,
            "user": USER,
            "mount_tmp_dir": False,
            # It is asked why it ended before it goes.
            "auto_remove": "never",
        }

    @cached_property
    def cli(self) -> APIClient:
        """The engine. Its containers have no capability, and write nowhere but to /tmp and their mounts."""
        engine = super().cli
        provided = engine.create_host_config
        engine.create_host_config = lambda mounts, **rest: provided(mounts=[SCRATCH, *mounts], **rest, **RIGHTS)
        return engine

    def execute(self, context: Any) -> Any:
        """Runs the container and reads the last line of its output.

        Raises:
            AirflowException: it failed; which one is told by `failure`.
        """
        self.command = ["python", *self.command_line()]
        try:
            self._run_to_its_end(context)
            # What the operator returns is the last line of output and log together, whichever came later.
            output = self.cli.logs(self.container["Id"], stdout=True, stderr=False).decode()
        except Exception:  # a timeout is none of these: `on_kill` follows, and lets the step say how it ended
            self._remove()
            raise
        self._remove()
        return self.result((output.splitlines() or [""])[-1])

    def _run_to_its_end(self, context: Any) -> None:
        try:
            super().execute(context)
        except DockerContainerFailedException as error:
            ended = self.cli.inspect_container(self.container["Id"])["State"]
            raise self.failure(ended["ExitCode"], (error.logs or [error])[-1], ended["OOMKilled"]) from error

    def on_kill(self) -> None:
        """Stops the container and removes it."""
        with contextlib.suppress(NotFound):
            super().on_kill()
        self._remove()

    def _remove(self) -> None:
        if self.container is not None:
            with contextlib.suppress(NotFound):
                self.cli.remove_container(self.container["Id"], v=True, force=True)


def mount(volume: str) -> Mount:
    """A mount of a task's container.

    Args:
        volume: `FOLDER`, or `SOURCE:TARGET` and `:ro` if it must not be written; a source that is no path is a volume.
    """
    source, target, *mode = volume.split(":") if ":" in volume else (volume, volume)
    kind = "bind" if source.startswith("/") else "volume"
    return Mount(target=target, source=source, type=kind, read_only=mode == ["ro"])


class DockerStep(StepTask, DockerTask):
    """Runs a step in its image."""

    ui_color = "#e4ecf7"

    def __init__(
        self, *, step: str, run_uri: str, conf: str, domain: str | None = None, shard: str | None = None, **kwargs: Any
    ) -> None:
        """Takes the fields of `StepTask`, and in `kwargs` what `DockerOperator` takes."""
        super().__init__(**kwargs)
        self.step, self.run_uri, self.conf, self.domain, self.shard = step, run_uri, conf, domain, shard


class DockerCommand(CommandTask, DockerTask):
    """Runs `modit COMMAND` in the image of its declaration."""

    def __init__(self, *, order: dict[str, Any], returns: bool = False, **kwargs: Any) -> None:
        """Takes the fields of `CommandTask`, and in `kwargs` what `DockerOperator` takes."""
        super().__init__(**kwargs)
        self.order, self.returns = order, returns


OPERATOR = DockerStep
COMMAND_OPERATOR = DockerCommand
