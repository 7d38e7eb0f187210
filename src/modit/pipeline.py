"""Runs a pipeline in this process, for a notebook or a script: `modit.train`.

run = modit.train("path/to/catalogue", domains=["popular"], run="runs/first")
run.load("popular").query(["item-1", "item-2"])
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from modit.core.errors import InsufficientDataError
from modit.core.names import SKIPPED_NO_DATA
from modit.core.params import merged, nested
from modit.core.runner import StepRunner
from modit.core.step import Step
from modit.local import AnyRetriever, load
from modit.release.model_registry.registry_access import registry_uri
from modit.steps import find_steps

_VERDICT, _REPORT = Path("verdict") / "verdict.json", Path("report") / "report.html"
_FIGURES = _REPORT.with_suffix(".json")


@dataclass(frozen=True)
class TrainedRun:
    """A run whose pipeline has ended.

    Attributes:
        folder: Of the run, with an artifact in each folder below.
        domains: That were trained, or what stands for one.
    """

    folder: Path
    domains: tuple[str, ...]

    @property
    def report(self) -> Path:
        """The page that compares every method with every other."""
        return self.folder / _REPORT

    @property
    def registry(self) -> str:
        """Address of the MLflow registry that has its versions, for `modit serve --registry`."""
        return registry_uri(str(self.folder))

    @property
    def verdict(self) -> pd.DataFrame:
        """The verdict on each domain: `domain`, `status`, `reasons`."""
        judged = json.loads((self.folder / _VERDICT).read_text(encoding="utf-8"))["domains"]
        rows = [(name, each["status"], " ".join(each["reasons"])) for name, each in judged.items()]
        return pd.DataFrame(rows, columns=["domain", "status", "reasons"])

    @property
    def results(self) -> pd.DataFrame:
        """Joint@K of each method on held-out cases, in [0, 1]: a row for each domain and split.

        The columns of methods are those of the report: `average` of the seeds, `mo_dit`, `hppo` and `hppo_reranked`,
        which is served by default; `best_classical` and `best_two_stage`, the best simple rows without and with a
        reranked list, chosen on these cases; `filter`, where every verdict is known.
        """
        cells = json.loads((self.folder / _FIGURES).read_text(encoding="utf-8"))["cells"]
        return pd.DataFrame(
            [{name: each[name] for name in ("domain", "split", "cases")} | each["joint"] for each in cells]
        )

    def load(self, domain: str | None = None) -> AnyRetriever:
        """What answers for a domain, whatever its verdict; see `modit.load`."""
        return load(self.folder, domain=domain)


def train(
    catalogue: str | Path | pd.DataFrame,
    *,
    domains: Sequence[str] | None = None,
    run: str | Path = "runs/notebook",
    preset: str = "small",
    seed: int | None = None,
    pipeline: str | None = None,
    window: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> TrainedRun:
    """Runs all steps of a pipeline one after the other. Steps whose inputs have not changed are skipped.

    Args:
        catalogue: Folder in the input contract, or its items as a table: `item_id` (a column or the index),
            `embedding` (a list, an array or a tensor [d] in each row), a column `attr_<domain>` for each attribute,
            and optionally `title`. A table is written beside the run.
        domains: To train; None takes all that have enough verdicts.
        run: Folder of the run. The same again resumes; other arguments need another folder.
        preset: Size: tiny, quick, small, base or paper.
        seed: Of the run; None takes that of the parameters, 0.
        pipeline: Its name; None: `retrain`.
        window: Days of dated logs, `{"start": ..., "end": ...}`, the end not included.
        overrides: Parameters over the preset, such as `{"pretrain.steps": 100}`.
        progress: Whether a bar on stderr shows the step and an estimate of what is left.

    Returns:
        The run, whose domains can be loaded.

    Raises:
        ConfigError: An argument is not allowed, or differs from those that the run was made with.
        ContractError: The catalogue breaks the input contract.
        InsufficientDataError: There are too few verdicts, or no new data in the window.
    """
    registry, params = find_steps()
    folder = Path(run).resolve()
    conf = {
        "catalogue": _address(catalogue, folder),
        "domains": "all" if domains is None else list(domains),
        "seed": seed,
        "preset": preset,
        "overrides": merged(_without_versioning(), nested(dict(overrides or {}))),
        "window": None if window is None else dict(window),
        "pipeline": pipeline,
    }
    runner = StepRunner(
        registry, str(folder), params, {name: value for name, value in conf.items() if value is not None}
    )
    _run_all(runner, registry.of(pipeline).steps, progress)
    return TrainedRun(folder, tuple(runner.domains()))


def _run_all(runner: StepRunner, steps: Sequence[Step], progress: bool) -> None:
    with tqdm(desc="modit.train", unit="step", disable=not progress) as bar:
        for number, step in enumerate(steps):
            later = sum(len(runner.domains()) or 1 if each.per_domain else 1 for each in steps[number + 1 :])
            tasks = runner.domains() if step.per_domain else [None]
            bar.total = bar.n + len(tasks) + later
            for domain in tasks:
                bar.set_postfix_str(" ".join(filter(None, (step.name, domain))))
                result = runner.execute(step.name, domain)
                bar.update()
                if result.outcome == SKIPPED_NO_DATA:
                    raise InsufficientDataError(f"{runner.run.uri}: {result.reason}")


def _without_versioning() -> dict[str, Any]:
    """Data is versioned by DVC, which comes with an extra of its own; without it the verdict says so."""
    return {} if importlib.util.find_spec("dvc") else {"snapshot": {"enabled": False}}


def _address(catalogue: str | Path | pd.DataFrame, run: Path) -> str:
    """The address of a catalogue, wherever a later call is made from; a table is written beside the run."""
    if isinstance(catalogue, pd.DataFrame):
        folder = run.with_name(f"{run.name}-catalogue")
        folder.mkdir(parents=True, exist_ok=True)
        if catalogue.index.name == "item_id":
            catalogue = catalogue.reset_index()
        if "embedding" in catalogue:  # lists, arrays or tensors; Parquet takes lists and arrays
            catalogue = catalogue.assign(embedding=catalogue["embedding"].map(np.asarray, na_action="ignore"))
        catalogue.to_parquet(folder / "items.parquet", index=False)
        return str(folder)
    return str(catalogue) if "://" in str(catalogue) else str(Path(catalogue).resolve())
