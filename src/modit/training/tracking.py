"""Training curves in MLflow: a run for each stage of each domain, all written when a pipeline run is registered.

The stages themselves write `curve.json` and never import mlflow: that would cost each of some thirty tasks a second.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

SHARED = "all"
_METRICS_PER_CALL = 1_000


@dataclass(frozen=True)
class TrackedStage:
    """What is kept of a training stage.

    Attributes:
        stage: name of its artifact, such as "finetuned".
        domain: whose, or "all" for the shared stages.
        params: settings that it trained with.
        curve: points with `step` and figures.
        figures: what was measured when it was done.
    """

    stage: str
    domain: str
    params: dict[str, Any]
    curve: list[dict[str, float]]
    figures: dict[str, float]

    @classmethod
    def read(cls, folder: Path, stage: str, domain: str, params: dict[str, Any]) -> TrackedStage:
        """Reads `curve.json`, and of HPPO the last record of `rounds.json`, from a stage's artifact."""
        curve, rounds = json.loads((folder / "curve.json").read_text()), folder / "rounds.json"
        last: dict[str, Any] = next(reversed(json.loads(rounds.read_text())["rounds"]), {}) if rounds.exists() else {}
        figures = {name: float(value) for name, value in last.items() if isinstance(value, float | int)}
        return cls(stage, domain, params, curve, figures)

    @property
    def digest(self) -> str:
        """Of all that is kept, so that the same stage is not written twice."""
        return hashlib.sha256(json.dumps(vars(self), sort_keys=True, default=str).encode()).hexdigest()

    def tags(self, run_uri: str) -> dict[str, str]:
        """Tags of its MLflow run."""
        return {"run_uri": run_uri, "stage": self.stage, "domain": self.domain, "stage_digest": self.digest}


def log_stages(client: MlflowClient, experiment_id: str, run_uri: str, stages: Sequence[TrackedStage]) -> int:
    """Writes the stages that trained and are not there yet; a stage that changed replaces its old run.

    Args:
        client: of the tracking server or database.
        experiment_id: where runs go.
        run_uri: address of the pipeline run.
        stages: what to keep; those without a curve did not train and are left out.

    Returns:
        The number of runs written.
    """
    there = {run.data.tags["stage_digest"]: run for run in _runs_of(client, experiment_id, run_uri)}
    wanted = {stage.digest: stage for stage in stages if stage.curve}
    for digest in there.keys() - wanted.keys():
        client.delete_run(there[digest].info.run_id)
    missing = [stage for digest, stage in wanted.items() if digest not in there]
    for stage in missing:
        _log(client, experiment_id, run_uri, stage)
    return len(missing)


def _runs_of(client: MlflowClient, experiment_id: str, run_uri: str) -> list[Run]:
    """Finished runs of stages of the pipeline run; those that an attempt left unfinished are dropped."""
    runs = client.search_runs([experiment_id], f"tags.run_uri = '{run_uri}' and tags.stage != ''", max_results=50_000)
    for run in runs:
        if run.info.status != "FINISHED":
            client.delete_run(run.info.run_id)
    return [run for run in runs if run.info.status == "FINISHED"]


def _log(client: MlflowClient, experiment_id: str, run_uri: str, stage: TrackedStage) -> None:
    from mlflow.entities import Param

    name = stage.stage if stage.domain == SHARED else f"{stage.stage} {stage.domain}"
    run = client.create_run(experiment_id, run_name=name, tags=stage.tags(run_uri))
    metrics = list(_metrics(stage, int(time.time() * 1000)))
    params = [Param(name, str(value)) for name, value in stage.params.items()]
    client.log_batch(run.info.run_id, params=params)
    for start in range(0, len(metrics), _METRICS_PER_CALL):
        client.log_batch(run.info.run_id, metrics=metrics[start : start + _METRICS_PER_CALL])
    client.set_terminated(run.info.run_id)


def _metrics(stage: TrackedStage, now: int) -> Iterator[Metric]:
    from mlflow.entities import Metric

    for point in stage.curve:
        for name, value in point.items():
            if name != "step":
                yield Metric(name, value, now, int(point["step"]))
    for name, value in stage.figures.items():
        yield Metric(f"validation.{name}", value, now, int(stage.curve[-1]["step"]))
