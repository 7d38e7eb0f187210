"""A toy pipeline: its catalogue, its params.yaml, and a runner for a run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from modit.core.registry import Registry, discover
from modit.core.runner import StepRunner

PARAMS = "seed: 3\npretrain: {steps: 10}\npresets: {tiny: {}, small: {pretrain: {steps: 100}}}\n"


@dataclass
class Toy:
    folder: Path
    registry: Registry

    @property
    def conf(self) -> dict:
        return {"catalogue": str(self.folder / "catalogue"), "preset": "tiny"}

    def runner(self, run: str | Path, **conf) -> StepRunner:
        return StepRunner(self.registry, str(run), self.folder / "params.yaml", {**self.conf, **conf})

    def run_all(self, run: str | Path, **conf) -> dict[str, str]:
        """Runs every step; gives the status by `step` or `step.domain`."""
        statuses = {}
        for step in self.registry.steps:
            runner = self.runner(run, **conf)
            for domain in runner.domains() if step.per_domain else [None]:
                label = f"{step.name}.{domain}" if domain else step.name
                statuses[label] = runner.execute(step.name, domain).status
        return statuses

    def digests(self, run: str | Path) -> dict[str, str]:
        """Digest of every artifact of a run."""
        runner = self.runner(run)
        found = {}
        for name, step in self.registry.writer.items():
            for domain in runner.domains() if step.per_domain else [None]:
                found[f"{name}/{domain}"] = runner.store.get(name, domain).digest
        return found


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    monkeypatch.setenv("MODIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "catalogue").mkdir()
    (tmp_path / "catalogue" / "numbers.txt").write_text("1 2 3 4 5\n")
    (tmp_path / "params.yaml").write_text(PARAMS)
    return Toy(tmp_path, discover("toysteps"))
