"""`modit serve`: the process."""

from __future__ import annotations

import uvicorn

from modit.serve.app import create_app
from modit.serve.logs import set_up_json_logging
from modit.serve.settings import Settings

_GRACE_SECONDS = 10


def serve(settings: Settings) -> None:
    """Serves until SIGINT or SIGTERM; requests that are being answered are finished.

    Args:
        settings: how.
    """
    set_up_json_logging()
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,  # Front writes the lines
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
