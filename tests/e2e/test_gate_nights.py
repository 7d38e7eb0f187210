"""Two runs of the real steps and a real registry: the second is judged against what the first made champion."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.registry import REGISTRY
from modit.core.runner import StepRunner
from modit.release.model_registry.mlflow_registry import MlflowRegistry
from modit.release.promotion.promotion import Order, carry_out
from modit.release.verdict import PASS, read_verdict, served_figures, verdict_text
from tests.worlds import small_world

pytestmark = pytest.mark.e2e

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"
# What is tested is that it is measured, on whatever machine this is.
BUDGETS = {"servability": {"p99_ms": 10_000, "memory_mb": 8_192}}


def run_all(run: Path, catalogue: Path) -> dict[str, str]:
    """Runs every step; gives the status by `step` or `step.domain`."""
    conf = {"catalogue": str(catalogue), "preset": "tiny", "domains": ["popular"], "overrides": BUDGETS}
    runner = StepRunner(REGISTRY, str(run), PARAMS, conf)
    return {
        step.name: runner.execute(step.name, domain).status
        for step in REGISTRY.of("retrain").steps
        for domain in (runner.domains() if step.per_domain else [None])
    }


def promote_first(registry: MlflowRegistry, status: str) -> None:
    """Makes version 1 the champion, whatever the gate said of so small a model."""
    digest = registry.version("popular", 1).tags["verdict_digest"]
    carry_out(registry, Order("approve" if status == PASS else "override", "popular", "ann", 1, digest, "for a test"))


def test_a_first_run_passes_on_absolute_thresholds_and_its_own_sampler_brought_again_is_refused(tmp_path, monkeypatch):
    registry = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry)
    monkeypatch.setenv("MODIT_CACHE", str(tmp_path / "cache"))
    world, runs = small_world(tmp_path / "world"), tmp_path / "runs"
    run_all(runs / "first", world)
    first = read_verdict(str(runs / "first"))["domains"]["popular"]
    assert (first["basis"], first["champion"]) == ("no champion: absolute thresholds", None)
    assert first["keys"]["servability"]["holds"], first["reasons"]
    assert served_figures(str(runs / "first"))[0].startswith("popular: p50 ")

    promote_first(MlflowRegistry(registry), first["status"])
    assert set(run_all(runs / "first", world).values()) == {"cached"}
    statuses = run_all(runs / "second", world)
    assert statuses["hppo_round_4"] == statuses["export_sampler"] == "reused"
    assert statuses["fetch_champion"] == statuses["evaluate"] == statuses["check_servability"] == "ran"
    assert set(run_all(runs / "first", world).values()) == {"cached"}
    second = read_verdict(str(runs / "second"))["domains"]["popular"]
    assert (second["status"], second["basis"]) == ("FAIL", "champion modit-popular/1")
    for split in ("item_holdout", "pattern_holdout"):
        assert abs(second["splits"][split]["differences"]["HPPO + rerank - Champion"]["mean"]) < 1e-3
        assert abs(second["splits"][split]["same_difference"]["mean"]) < 1e-3
    assert "not promoted: on item-holdout the gain over champion modit-popular/1 is" in verdict_text(
        read_verdict(str(runs / "second"))
    )
    assert "The champion is modit-popular/1." in (runs / "second" / "report" / "report.html").read_text()
