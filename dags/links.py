"""Links for a reviewer: to the pages of MLflow and of the service, which open where addresses of a run do not."""

from __future__ import annotations

import os

# As the reviewer's browser reaches them; none: no link.
MLFLOW = os.environ.get("MODIT_MLFLOW_URL", "").rstrip("/")
SERVICE = os.environ.get("MODIT_SERVICE_URL", "").rstrip("/")


def links_of(version: str) -> str:
    """Markdown, a line for each page that there is.

    Args:
        version: such as `modit-popular/3`.
    """
    model, _, number = version.rpartition("/")
    in_mlflow = f"[{version} in MLflow]({MLFLOW}/#/models/{model}/versions/{number}): card, and a run with the report"
    in_service = f"[releases]({SERVICE}/releases#{model.removeprefix('modit-')}): verdicts, comparison, release log"
    return "".join(f"- {line}\n" for line, root in ((in_mlflow, MLFLOW), (in_service, SERVICE)) if root)
