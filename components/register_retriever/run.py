"""Registers the judged bundle with its digests, verdict and report; writes the training curves to MLflow."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from components.judged_once import retriever_of
from modit.core.storage import sha256_of_file
from modit.release.bundle.bundle import CANARIES_FILE, CARD_FILE, Bundle
from modit.release.bundle.canaries import example_request
from modit.release.documents import read_strictly, write_document
from modit.release.kinds import kind_of
from modit.release.model_registry.model_version import Submission
from modit.release.model_registry.registry_access import open_registry
from modit.release.promotion.review import REGISTRATION_FILE
from modit.release.verdict import VERDICT_FILE
from modit.release.versioning.code_state import code_state
from modit.release.versioning.record import RECORD_FILE, record_of
from modit.release.versioning.snapshot import load_versions, version_tags
from modit.training.tracking import TrackedStage, log_stages

if TYPE_CHECKING:
    from modit.core.context import StepContext

CODE = Path(__file__).resolve().parents[2]


def run(context: StepContext) -> dict[str, object]:
    """Reads verdict, versions, evaluation, bundle and the stages; writes the registration: registration.json."""
    run_uri, retriever = context.run_uri, retriever_of(context.step)
    name, kind, registry = retriever.name, kind_of(retriever.name), open_registry(context.run_uri)
    stages = [
        TrackedStage.read(context.input(stage) / folder, stage, name, getattr(context.params, section).model_dump())
        for stage, (section, folder) in retriever.stages.items()
    ]
    trained = [stage for stage in stages if stage.curve]  # a run that starts from a champion may train nothing
    log_stages(registry.client, registry.experiment_id(), run_uri, trained)
    verdict, report = context.input(retriever.verdict) / VERDICT_FILE, context.input(retriever.evaluation)
    versions, record = load_versions(context.input(retriever.versions)), context.scratch / RECORD_FILE
    code = code_state(CODE)
    record_of(run_uri, context.run_config, context.seed, context.lineage(), versions, code).save(record)
    bundle, card = Bundle.load(context.input(retriever.bundle)), context.input(retriever.bundle) / CARD_FILE
    digests = {
        "bundle": bundle.digest,
        kind.model[0]: bundle.model_digest,
        "index": bundle.index_digest,
        "report": sha256_of_file(report / kind.report_file),
        "verdict": sha256_of_file(verdict),
    }
    model = context.input(retriever.exported) / kind.model[1]
    judged = read_strictly(verdict)["domains"][name]
    submission = Submission(
        domain=name,
        verdict=judged["status"],
        run_uri=run_uri,
        digests=digests,
        metrics=judged["figures"],
        files=(model, report / "report.html", verdict, record, card),
        facts=version_tags(versions) | {"code_commit": str(code)},
        held_back=context.held_back(),
        card=card.read_text(encoding="utf-8"),
        example=example_request(context.input(retriever.bundle) / CANARIES_FILE),
    )
    found = registry.register(submission)
    written = {name: asdict(found) | {"digests": digests}}
    write_document(context.output(kind.registration) / REGISTRATION_FILE, written)
    return {name: found.version}
