"""`modit serve`: the process."""

from __future__ import annotations

import os
import sys

import uvicorn

from modit.serve.app import create_app
from modit.serve.logs import set_up_json_logging
from modit.serve.settings import Settings

_GRACE_SECONDS = 10
# A thread that asks the registry or loads a release gives the interpreter to those that answer this often.
_SWITCH_SECONDS = 0.0005
# The registry is asked again soon: better to say that it is away than to wait for minutes.
_MLFLOW = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


def serve(settings: Settings) -> None:
    """Serves until SIGINT or SIGTERM; requests that are being answered are finished.

    Args:
        settings: how.
    """
    set_up_json_logging()
    sys.setswitchinterval(_SWITCH_SECONDS)
    for name, value in _MLFLOW.items():
        os.environ.setdefault(name, value)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,  # Front writes the lines
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
