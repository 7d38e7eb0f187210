"""`modit kfp submit`: sends a pipeline to a server of Kubeflow Pipelines, to run once or on a schedule."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import tempfile
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kfp import Client
from kfp_server_api import ApiException
from urllib3.exceptions import HTTPError

from components.registry import REGISTRY
from modit.core.errors import ConfigError, ServerError
from modit.core.run_config import json_object, parse_run_config
from pipelines.kfp_platform import Platform, platform_of
from pipelines.kfp_task import run_conf
from pipelines.kfp_view import IMAGE_KINDS, compiled, job_name, kfp_pipeline

# Of kfp's client.
HOST_VARIABLE = "KF_PIPELINES_ENDPOINT"
TOKEN_VARIABLE = "MODIT_KFP_TOKEN"
# Variables that steps need where runs are remote -> what to give.
OF_REMOTE_RUNS = {"MLFLOW_TRACKING_URI": "http://SERVER:5000", "MODIT_FEATURES": "FOLDER"}
RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# The server puts the scheduled time of a recurring run in, UTC, in Go's format.
SCHEDULED_RUN, SCHEDULED_WINDOW = "nightly-[[ScheduledTime]]", ":[[ScheduledTime.2006-01-02]]"
SCHEDULED_TIMES = {"[[ScheduledTime]]": "20000101000000", "[[ScheduledTime.2006-01-02]]": "2000-01-01"}
HEALTH = "/apis/v2beta1/healthz"
TIMEOUT = 10  # seconds


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
    registry = REGISTRY.of(chosen.pipeline)
    check_parameters(parameters, registry.pipeline().name)
    cron = cron_with_seconds(chosen.schedule) if chosen.schedule else None
    platform = platform_of(chosen, IMAGE_KINDS)
    check_variables(chosen.run_root, platform)
    server = Server(host_of(chosen.host), chosen.namespace, chosen.experiment, os.environ.get(TOKEN_VARIABLE))
    check_server(server)
    pipeline, name = compiled(kfp_pipeline(registry, platform)), job_name(registry.pipeline().name)
    if cron is None:
        return start_run(server, f"{name} {parameters['run']}", pipeline, parameters)
    return start_recurring_run(server, f"{name} {cron}", pipeline, parameters, cron)


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
        "overrides": json_object(chosen.overrides, "--overrides"),
        "window": window if chosen.window is None else chosen.window,
    }


def check_parameters(parameters: Mapping[str, Any], pipeline: str) -> None:
    """Refuses here what the first task would refuse.

    Args:
        parameters: of the pipeline.
        pipeline: its name.

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
    parse_run_config(run_conf(filled, pipeline), "the pipeline's parameters")


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


@dataclass(frozen=True)
class Server:
    """Where to submit.

    Attributes:
        host: address of the API, or of the user interface that forwards to it.
        namespace: of a server with several users; None where there is one.
        experiment: under which runs are listed; made when it is missing.
        token: bearer token; None where the server asks for none.
    """

    host: str
    namespace: str | None = None
    experiment: str = "modit"
    token: str | None = None


def check_server(server: Server) -> None:
    """Asks the server whether it is one of Kubeflow Pipelines; kfp's client takes half a minute to find that out.

    Raises:
        ConfigError: the host is no address.
        ServerError: nobody answers, or somebody else.
    """
    if not re.match(r"https?://[^/]", server.host):
        raise ConfigError(f"--host {server.host!r}; allowed: an address such as http://localhost:8888")
    url = server.host.rstrip("/") + HEALTH
    headers = {"Authorization": f"Bearer {server.token}"} if server.token else {}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # kfp's client uses no proxy either
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as answer:
            json.load(answer)
    except urllib.error.HTTPError as error:
        raise ServerError(f"{url} answers {error.code} {error.reason}: {said(error.read())}") from error
    except OSError as error:
        raise ServerError(f"{server.host} cannot be reached: {getattr(error, 'reason', error)}") from error
    except ValueError as error:
        raise ServerError(f"{url} answers, but not as Kubeflow Pipelines does: its answer is not JSON") from error


def start_run(server: Server, name: str, pipeline: str, parameters: Mapping[str, Any]) -> str:
    """Starts a run.

    Args:
        server: where.
        name: of the run in the user interface.
        pipeline: the compiled pipeline.
        parameters: of the pipeline.

    Returns:
        Its id, and where to look at it.

    Raises:
        ServerError: the server refuses, or goes away.
    """
    with _client(server) as (client, experiment), _package(pipeline) as package:
        run = client.run_pipeline(experiment, name, package, params=dict(parameters))
    return f"run {run.run_id}: {server.host.rstrip('/')}/#/runs/details/{run.run_id}"


def start_recurring_run(server: Server, name: str, pipeline: str, parameters: Mapping[str, Any], cron: str) -> str:
    """Makes a recurring run: one at a time, and none for what was missed, as in the DAG.

    Args:
        server: where.
        name: of the recurring run in the user interface.
        pipeline: the compiled pipeline.
        parameters: of the pipeline.
        cron: expression of six fields.

    Returns:
        Its id, and where to look at it.

    Raises:
        ServerError: the server refuses, or goes away.
    """
    with _client(server) as (client, experiment), _package(pipeline) as package:
        recurring = client.create_recurring_run(
            experiment,
            name,
            cron_expression=cron,
            max_concurrency=1,
            no_catchup=True,
            params=dict(parameters),
            pipeline_package_path=package,
        )
    found = recurring.recurring_run_id
    return f"recurring run {found}: {server.host.rstrip('/')}/#/recurringrun/details/{found}"


def said(body: bytes | str | None) -> str:
    """The message in a server's answer."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else body or ""
    try:
        content = json.loads(text)
    except ValueError:
        return text[:500] or "nothing more"
    return str(content.get("message") or content.get("error") or text) if isinstance(content, dict) else text[:500]


@contextlib.contextmanager
def _client(server: Server) -> Iterator[tuple[Client, str]]:
    """The client and the experiment's id; what kfp prints and warns of is left out."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore", FutureWarning)
        try:
            client = Client(server.host, namespace=server.namespace or "kubeflow", existing_token=server.token)
            experiment = client.create_experiment(server.experiment, namespace=server.namespace)
            yield client, experiment.experiment_id
        except ApiException as error:
            raise ServerError(f"{server.host} refuses: {error.status} {error.reason}: {said(error.body)}") from error
        except HTTPError as error:
            raise ServerError(f"{server.host} went away: {error}") from error


@contextlib.contextmanager
def _package(pipeline: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pipeline.yaml")
        file.write_text(pipeline, encoding="utf-8")
        yield str(file)
