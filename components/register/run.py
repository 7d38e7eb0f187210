"""Registers every judged sampler with its digests, verdict and report."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modit.core.storage import sha256_of_file
from modit.release.gate import SKIPPED
from modit.release.registry import MlflowRegistry, Submission, tracking_uri

if TYPE_CHECKING:
    from modit.core.context import StepContext


def run(context: StepContext) -> dict[str, object]:
    """Reads `verdict`, `report` and the `sampler` of every domain; writes `registration`: registration.json."""
    run_uri = context._store.run.uri
    uri = tracking_uri(run_uri)
    local = f"file://{run_uri}/mlflow_artifacts" if Path(run_uri).is_absolute() else None
    registry = MlflowRegistry(uri, local if uri.startswith("sqlite") else None)
    verdict_file = context.input("verdict") / "verdict.json"
    report, samplers = context.input("report"), context.inputs_by_domain("sampler")
    shared = {"report": sha256_of_file(report / "report.json"), "verdict": sha256_of_file(verdict_file)}
    registrations: dict[str, Any] = {}
    for domain, judged in _read(verdict_file)["domains"].items():
        if judged["status"] == SKIPPED:
            registrations[domain] = {"status": "skipped", "reasons": judged["reasons"]}
            continue
        facts = _read(samplers[domain] / "sampler.json")
        digests = shared | {"sampler": facts["sampler_digest"], "index": facts["index_digest"]}
        files = (samplers[domain] / "sampler.onnx", report / "report.html", verdict_file)
        found = registry.register(Submission(domain, judged["status"], run_uri, digests, judged["figures"], files))
        registrations[domain] = asdict(found) | {"digests": digests}
    text = json.dumps(registrations, indent=1, sort_keys=True) + "\n"
    (context.output("registration") / "registration.json").write_text(text, encoding="utf-8")
    return {domain: entry.get("version") for domain, entry in registrations.items()}


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
