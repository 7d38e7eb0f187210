"""Registers the judged bundle with its digests, verdict and report; writes the training curves to MLflow."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from components.register_next_item import STAGES
from modit.core.names import NEXT_ITEM
from modit.core.storage import sha256_of_file
from modit.release.bundle.bundle import CARD_FILE, Bundle
from modit.release.documents import read_strictly, write_document
from modit.release.kinds import OF_SESSIONS
from modit.release.model_registry.model_version import Submission
from modit.release.model_registry.registry_access import open_registry
from modit.release.promotion.review import REGISTRATION_FILE
from modit.release.verdict import VERDICT_FILE
from modit.release.versioning.code_state import code_state
from modit.release.versioning.record import RECORD_FILE, record_of
from modit.release.versioning.snapshot import load_versions, version_tags
from modit.train.tracking import TrackedStage, log_stages

if TYPE_CHECKING:
    from modit.core.context import StepContext

CODE = Path(__file__).resolve().parents[2]


def run(context: StepContext) -> dict[str, object]:
    """Reads verdict, versions, evaluation, bundle and the stages.

    Writes `next_item_registration`: registration.json.
    """
    run_uri = context.run_uri
    registry = open_registry(run_uri)
    stages = [
        TrackedStage.read(context.input(name), name, NEXT_ITEM, getattr(context.params, section).model_dump())
        for name, section in STAGES.items()
    ]
    trained = [stage for stage in stages if stage.curve]  # a run that starts from a champion may train nothing
    log_stages(registry.client, registry.experiment_id(), run_uri, trained)
    verdict, report = context.input("next_item_verdict") / VERDICT_FILE, context.input("next_item_evaluation")
    versions, record, code = (
        load_versions(context.input("next_item_versions")),
        context.scratch / RECORD_FILE,
        code_state(CODE),
    )
    record_of(run_uri, context.run_config, context.seed, context.lineage(), versions, code).save(record)
    bundle, card = Bundle.load(context.input("next_item_bundle")), context.input("next_item_bundle") / CARD_FILE
    digests = {
        "bundle": bundle.digest,
        OF_SESSIONS.model[0]: bundle.model_digest,
        "index": bundle.index_digest,
        "report": sha256_of_file(report / OF_SESSIONS.report_file),
        "verdict": sha256_of_file(verdict),
    }
    model = context.input("exported_retriever") / OF_SESSIONS.model[1]
    judged = read_strictly(verdict)["domains"][NEXT_ITEM]
    submission = Submission(
        domain=NEXT_ITEM,
        verdict=judged["status"],
        run_uri=run_uri,
        digests=digests,
        metrics=judged["figures"],
        files=(model, report / "report.html", verdict, record, card),
        facts=version_tags(versions) | {"code_commit": str(code)},
        held_back=context.held_back(),
        card=card.read_text(encoding="utf-8"),
    )
    found = registry.register(submission)
    write_document(
        context.output("next_item_registration") / REGISTRATION_FILE, {NEXT_ITEM: asdict(found) | {"digests": digests}}
    )
    return {NEXT_ITEM: found.version}
