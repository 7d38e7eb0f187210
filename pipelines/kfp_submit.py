"""`modit kfp submit`: sends the main job to a server of Kubeflow Pipelines, once or on a schedule."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from components.registry import REGISTRY
from modit.core.errors import ConfigError
from modit.core.run_config import parse_run_config
from pipelines.kfp_platform import Platform, platform_of
from pipelines.kfp_server import Server, check_server, start_recurring_run, start_run
from pipelines.kfp_task import run_conf
from pipelines.retrain import IMAGE_KINDS, NAME, compiled, retrain_pipeline

# Of kfp's client.
HOST_VARIABLE = "KF_PIPELINES_ENDPOINT"
TOKEN_VARIABLE = "MODIT_KFP_TOKEN"
# Variables that steps need where runs are remote -> what to give.
OF_REMOTE_RUNS = {"MLFLOW_TRACKING_URI": "http://SERVER:5000", "MODIT_FEATURES": "FOLDER"}
RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# The server puts the scheduled time of a recurring run in, UTC, in Go's format.
SCHEDULED_RUN, SCHEDULED_WINDOW = "nightly-[[ScheduledTime]]", ":[[ScheduledTime.2006-01-02]]"
SCHEDULED_TIMES = {"[[ScheduledTime]]": "20000101000000", "[[ScheduledTime.2006-01-02]]": "2000-01-01"}


def submit(chosen: argparse.Namespace) -> str:
    """Starts a run, or makes a recurring one where there is a schedule.

    Args:
        chosen: the options of `modit kfp submit`.

    Returns:
        A line for people: what was made, and where to look at it.

    Raises:
        ConfigError: an option is missing, or its value is not allowed.
        ServerError: the server cannot be reached, is another one, or refuses.
    """
    parameters = parameters_of(chosen, datetime.now(UTC))
    check_parameters(parameters)
    cron = cron_with_seconds(chosen.schedule) if chosen.schedule else None
    platform = platform_of(chosen, IMAGE_KINDS)
    check_variables(chosen.run_root, platform)
    server = Server(host_of(chosen.host), chosen.namespace, chosen.experiment, os.environ.get(TOKEN_VARIABLE))
    check_server(server)
    pipeline = compiled(retrain_pipeline(REGISTRY, platform))
    if cron is None:
        return start_run(server, f"{NAME} {parameters['run']}", pipeline, parameters)
    return start_recurring_run(server, f"{NAME} {cron}", pipeline, parameters, cron)


def parameters_of(chosen: argparse.Namespace, now: datetime) -> dict[str, Any]:
    """The pipeline's parameters.

    A scheduled run takes its name and its window from the scheduled time; any other is named by the present one, and
    reads everything unless it is told a window.

    Args:
        chosen: the options.
        now: the present time.
    """
    run, window = (SCHEDULED_RUN, SCHEDULED_WINDOW) if chosen.schedule else (f"{now:manual-%Y%m%d%H%M%S}", "")
    return {
        "catalogue": chosen.catalogue,
        "run_root": chosen.run_root,
        "run": chosen.run or run,
        "domains": chosen.domains,
        "seed": chosen.seed,
        "preset": chosen.preset,
        "overrides": overrides_of(chosen.overrides),
        "window": window if chosen.window is None else chosen.window,
    }


def overrides_of(text: str) -> dict[str, Any]:
    """Reads `--overrides`.

    Raises:
        ConfigError: it is not a JSON object.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"--overrides {text!r} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f'--overrides {text!r}; allowed: a JSON object such as {{"pretrain.steps": 100}}')
    return value


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Refuses here what the first task would refuse.

    Raises:
        ConfigError: the message names the parameter.
    """
    for name in ("catalogue", "run_root"):
        if not re.match(r"/|[a-z0-9]+://", parameters[name]):
            allowed = "an absolute path on a volume that all containers see, or an address such as s3://bucket/prefix"
            raise ConfigError(f"--{name.replace('_', '-')} {parameters[name]!r}; allowed: {allowed}")
    filled = dict(parameters)
    for macro, value in SCHEDULED_TIMES.items():
        filled |= {name: filled[name].replace(macro, value) for name in ("run", "window")}
    if not RUN_NAME.fullmatch(filled["run"]):
        raise ConfigError(f"--run {parameters['run']!r}; allowed: a name {RUN_NAME.pattern}")
    parse_run_config(run_conf(filled), "the pipeline's parameters")


def check_variables(run_root: str, platform: Platform) -> None:
    """Refuses here what a task would refuse after hours: beside a remote run there is no folder for these.

    Args:
        run_root: where runs live.
        platform: with the tasks' variables; secrets may hold an address, too, but no folder.

    Raises:
        ConfigError: a variable is missing.
    """
    secret = {"MLFLOW_TRACKING_URI"} if platform.secrets else set()
    missing = OF_REMOTE_RUNS.keys() - platform.environment.keys() - secret
    if missing and "://" in run_root:
        options = " ".join(f"--env {name}={OF_REMOTE_RUNS[name]}" for name in sorted(missing))
        raise ConfigError(f"--run-root {run_root} is no folder, so tasks must be told where these are: {options}")


def cron_with_seconds(schedule: str) -> str:
    """The expression with the six fields that the server wants.

    Raises:
        ConfigError: it has neither five fields nor six.
    """
    fields = schedule.split()
    if len(fields) not in (5, 6):
        raise ConfigError(f"--schedule {schedule!r} has {len(fields)} fields; allowed: five, or six with seconds first")
    return " ".join(fields if len(fields) == 6 else ["0", *fields])


def host_of(given: str | None) -> str:
    """The server's address.

    Raises:
        ConfigError: there is none.
    """
    host = given or os.environ.get(HOST_VARIABLE)
    if not host:
        raise ConfigError(
            f"which server of Kubeflow Pipelines? Give --host, or set {HOST_VARIABLE}; for one in a cluster: "
            "kubectl port-forward -n kubeflow svc/ml-pipeline 8888, then --host http://localhost:8888"
        )
    return host
