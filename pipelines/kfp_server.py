"""A server of Kubeflow Pipelines, asked by kfp's client; what can go wrong is said in one line."""

from __future__ import annotations

import contextlib
import io
import json
import re
import tempfile
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp import Client
from kfp_server_api import ApiException
from urllib3.exceptions import HTTPError

from modit.core.errors import ConfigError, ServerError

HEALTH = "/apis/v2beta1/healthz"
TIMEOUT = 10  # seconds


@dataclass(frozen=True)
class Server:
    """Where to submit.

    Attributes:
        host: address of the API, or of the user interface in front of it.
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
