"""`modit serve`: the process."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Any

import uvicorn

from modit.core.output import set_up_logging
from modit.serve.app import create_app
from modit.serve.middleware import FIELDS
from modit.serve.settings import Settings

_GRACE_SECONDS = 10
# A thread that asks the registry or loads a release gives the interpreter to those that answer this often.
_SWITCH_SECONDS = 0.0005
# The registry is asked again soon: better to say that it is away than to wait for minutes.
_MLFLOW = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


def serve(settings: Settings) -> None:
    """Serves until SIGINT or SIGTERM; requests that are being answered are finished."""
    set_up_logging()
    for handler in logging.getLogger().handlers:
        handler.setFormatter(JsonFormatter())
    sys.setswitchinterval(_SWITCH_SECONDS)
    for name, value in _MLFLOW.items():
        os.environ.setdefault(name, value)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,  # RequestMiddleware writes the lines
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


class JsonFormatter(logging.Formatter):
    """A record as one JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Time (UTC), level, logger, message, the record's fields, and the traceback of an exception."""
        content: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            content["exception"] = self.formatException(record.exc_info)
        return json.dumps(content)
