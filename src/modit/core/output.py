"""What a program prints on stderr: log lines in one format, and no progress bars where nobody watches a terminal."""

from __future__ import annotations

import logging
import os
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
    """Sets the root logger's one handler (plain lines, no colours), and tqdm's default by whether stderr is a terminal.

    Args:
        level: lowest level of the lines that are written.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(FORMAT, datefmt="%H:%M:%S"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # tqdm reads it when it is imported
