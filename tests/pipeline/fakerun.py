"""A run whose artifacts are small files, for steps that only look at artifacts as files."""

from __future__ import annotations

import json
from pathlib import Path

from components.registry import REGISTRY
from modit.core.artifacts import Manifest, digest_of_files, list_files
from modit.core.key import catalogue_parts
from modit.core.runner import StepRunner
from modit.core.step import Step

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"
DOMAINS = ("popular", "quality")


def write_catalogue(folder: Path) -> Path:
    """An input of two files."""
    (folder / "interactions").mkdir(parents=True)
    (folder / "items.parquet").write_bytes(b"items")
    (folder / "interactions" / "day.parquet").write_bytes(b"interactions")
    return folder


def fake_run(run: str | Path, catalogue: Path, **overrides: object) -> StepRunner:
    """Writes an artifact for every output of the steps before `snapshot`.

    Returns:
        A runner of the run; sections of `overrides` lie over the preset.
    """
    conf = {"catalogue": str(catalogue), "preset": "tiny", "overrides": overrides}
    runner = StepRunner(REGISTRY, str(run), PARAMS, conf)
    for step in REGISTRY.of("retrain").steps:
        if step.name == "snapshot":
            return runner
        for name in step.outputs:
            for domain in DOMAINS if step.per_domain else (None,):
                _write(runner, step, name, domain)
    raise AssertionError("no step snapshot")


def _write(runner: StepRunner, step: Step, name: str, domain: str | None) -> None:
    folder = runner.store.cache.parent / "making" / name
    folder.mkdir(parents=True)
    (folder / "content.txt").write_text(f"{name} {domain}")
    if step.decides_domains:
        (folder / "domains.json").write_text(json.dumps({"domains": DOMAINS}))
    parts = {"params": runner.params.sections(step.params), "code": {f"components.{step.name}": "1"}, "inputs": {}}
    if step.reads_catalogue:
        parts["catalogue"] = catalogue_parts(runner.config.catalogue)
    files = list_files(folder)
    manifest = Manifest(name, domain, files, digest_of_files(files), {}, step.name, "key", parts)
    runner.store.write(folder, manifest)
