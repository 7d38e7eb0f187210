"""One format of log lines, on stderr, so that stdout holds results only."""

from __future__ import annotations

import logging
import sys

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# These narrate every request or plot at INFO.
NOISY = (
    "faiss",
    "great_expectations",
    "matplotlib",
    "botocore",
    "aiobotocore",
    "s3fs",
    "fsspec",
    "urllib3",
    "alembic",
    "onnxscript",
)


def set_up_logging(level: str = "INFO") -> None:
    """Sets the root logger's one handler; plain lines, no colours, wherever the output goes."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(FORMAT, datefmt="%H:%M:%S"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
