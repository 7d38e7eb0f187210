"""What MLflow loads a registered version with: `mlflow.pyfunc.load_model("models:/modit-popular/1")`.

A row of the input is a request of the service, and a row of the output its answer. The model is in the folder that
`modit.release.model_registry.mlflow_model` wrote.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modit.local import AnyRetriever, plain, retriever_of
from modit.release.bundle.loading import load_release
from modit.release.bundle.release import ReleaseSource
from modit.release.documents import read_strictly
from modit.release.model_registry.model_version import NamedVersion

# Of an answer, what only a registry knows.
_OF_THE_REGISTRY = {"model", "version", "alias"}


class ServedModel:
    """A release with the interface of MLflow's python_function flavour."""

    def __init__(self, retriever: AnyRetriever) -> None:
        """Takes what answers."""
        self.retriever = retriever

    def predict(self, rows: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Answers requests.

        Args:
            rows: A request in each; the columns are the fields of the service's request, and a missing value is a field
                that is not given.
            params: Of MLflow; there are none.

        Returns:
            An answer in each row; the columns are the fields of the service's answer.

        Raises:
            ConfigError: A value is not allowed; the field is named.
        """
        requests = [
            {name: plain(v) for name, v in row.items() if not _is_missing(v)} for row in rows.to_dict("records")
        ]
        answers = self.retriever.answers(requests)
        return pd.DataFrame([each.model_dump(exclude=_OF_THE_REGISTRY, exclude_none=True) for each in answers])


def _load_pyfunc(path: str) -> ServedModel:
    """Loads the release that a file names; MLflow calls it."""
    named = read_strictly(Path(path))
    source = ReleaseSource.of(NamedVersion(named["model"], 0, "", named["tags"]))
    return ServedModel(retriever_of(load_release(source)))


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float | np.floating) and np.isnan(value))
