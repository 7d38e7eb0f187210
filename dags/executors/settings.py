"""Settings of the executors, from the environment of the worker and the DAG processor."""

from __future__ import annotations

import os

# Name of a step's image; `{image}` is the kind that the declaration names.
IMAGES = os.environ.get("MODIT_IMAGES", "modit/{image}:dev")
# Whether steps that can use accelerators get them: "1" where there are some.
GPUS = os.environ.get("MODIT_GPUS") == "1"
# Factor on every step's timeout: a slower machine or a larger preset than the declarations have in mind.
TIMEOUT_SCALE = float(os.environ.get("MODIT_TIMEOUT_SCALE", "1"))
# Handed on to the containers where the worker has them: stores, how many threads and which kernels compute.
HANDED_ON = (
    "AWS_ENDPOINT_URL",
    "AWS_DEFAULT_REGION",
    "MLFLOW_TRACKING_URI",
    "MODIT_BATCH_PARTS",
    "MODIT_FEATURES",
    "MODIT_REDIS",
    "OMP_NUM_THREADS",
    "OPENBLAS_CORETYPE",
)
# The same, for values that must not be shown.
SECRET = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def present(names: tuple[str, ...]) -> dict[str, str]:
    """Those of the variables that are set."""
    return {name: os.environ[name] for name in names if name in os.environ}
