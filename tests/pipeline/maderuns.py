"""Runs made of the files that an observer reads: `run.json`, manifests, the verdict, what explains a refusal."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modit.core.artifacts import Manifest

START = 1_800_000_000.0
TABLES = {
    "interactions": {"rows": 110, "outside_window": 10, "set_aside": 7, "accepted": 93},
    "items": {"rows": 50, "outside_window": 0, "set_aside": 0, "accepted": 50},
    "retrieval_labels": {"rows": 5, "outside_window": 5, "set_aside": 0, "accepted": 0},
}
# Artifact, domain, step and seconds of work, in the order in which a finished run gets them.
ARTIFACTS = (
    ("validation", None, "validate_logs", 3.0),
    ("catalog", None, "validate_logs", 3.0),
    ("finetuned", "popular", "finetune", 60.0),
    ("verdict", None, "gate", 1.0),
    ("registration", None, "register", 2.0),
)


def start_run(root: Path, name: str, started: float = START) -> Path:
    """A run that has only begun."""
    run = root / name
    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"catalogue": "/data/shop", "preset": "tiny"}))
    os.utime(run / "run.json", (started, started))
    return run


def add_artifact(run: Path, name: str, domain: str | None, step: str, seconds: float | None, **fields: Any) -> Path:
    """An artifact that is nothing but its manifest."""
    folder = run / name / (domain or "")
    folder.mkdir(parents=True)
    values: dict[str, Any] = {"summary": {}, "created": at(START + 100)} | fields
    manifest = Manifest(name, domain, (), "digest", step=step, key="key", key_parts={}, seconds=seconds, **values)
    (folder / "manifest.json").write_text(json.dumps(vars(manifest)))
    return folder


def finish_run(root: Path, name: str, started: float = START, seconds: float = 600.0, status: str = "PASS") -> Path:
    """A run that has come to a verdict on the domains `popular` and, which was not trained, `rare`."""
    run = start_run(root, name, started)
    summary = {"outcome": "ACCEPTED", "tables": TABLES}
    for artifact, domain, step, worked in ARTIFACTS:
        fields = {"summary": summary} if artifact == "validation" else {}
        add_artifact(run, artifact, domain, step, worked, created=at(started + seconds), **fields)
    domains = {"popular": {"status": status}, "rare": {"status": "SKIPPED"}}
    (run / "verdict" / "verdict.json").write_text(json.dumps({"status": status, "domains": domains}))
    return run


def refuse_run(root: Path, name: str, started: float = START, seconds: float = 5.0) -> Path:
    """A run whose input broke the contract."""
    run = start_run(root, name, started)
    folder = run / "refused" / "validate_logs"
    folder.mkdir(parents=True)
    (folder / "outcome.json").write_text(json.dumps({"outcome": "REFUSED", "tables": TABLES}))
    os.utime(folder / "outcome.json", (started + seconds, started + seconds))
    return run


def at(seconds: float) -> str:
    """An instant as manifests have it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
