"""Registers every judged bundle with its digests, verdict and report; writes the training curves to MLflow."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.register import DOMAIN_STAGES, SHARED_STAGES
from modit.core.storage import sha256_of_file
from modit.evaluate.records import read_variants
from modit.release.bundle.bundle import CANARIES_FILE, CARD_FILE, Bundle
from modit.release.bundle.canaries import example_request
from modit.release.documents import read_strictly, write_document
from modit.release.kinds import OF_SEEDS
from modit.release.model_registry.model_version import Submission
from modit.release.model_registry.registry_access import open_registry
from modit.release.promotion.review import REGISTRATION_FILE
from modit.release.verdict import FAILED, SKIPPED, VERDICT_FILE
from modit.release.versioning.code_state import code_state
from modit.release.versioning.record import RECORD_FILE, record_of
from modit.release.versioning.snapshot import load_versions, version_tags
from modit.training.tracking import SHARED, TrackedStage, log_stages

if TYPE_CHECKING:
    from modit.core.context import StepContext

CODE = Path(__file__).resolve().parents[2]


def run(context: StepContext) -> dict[str, object]:
    """Reads `verdict`, `versions` and `report`, and of every domain the stages, `sampler` and `bundle`.

    Writes `registration`: registration.json.
    """
    run_uri = context.run_uri
    registry = open_registry(run_uri)
    log_stages(registry.client, registry.experiment_id(), run_uri, _stages(context))
    verdict_file = context.input("verdict") / VERDICT_FILE
    report, samplers = context.input("report"), context.inputs_by_domain("sampler")
    bundles = context.inputs_by_domain("bundle")
    shared = {"report": sha256_of_file(report / "report.json"), "verdict": sha256_of_file(verdict_file)}
    versions, record = load_versions(context.input("versions")), context.scratch / RECORD_FILE
    # The bundle names its run's feature service, so another run cannot reproduce its bytes. Its parts are compared.
    lineage, code = [each for each in context.lineage() if each.kind != OF_SEEDS.bundle], code_state(CODE)
    record_of(run_uri, context.run_config, context.seed, lineage, versions, code).save(record)
    registrations: dict[str, Any] = {}
    for domain, judged in read_strictly(verdict_file)["domains"].items():
        if judged["status"] in (SKIPPED, FAILED):
            registrations[domain] = {"status": judged["status"].lower(), "reasons": judged["reasons"]}
            continue
        if domain in context.left_out:  # it failed after it was judged
            registrations[domain] = {"status": FAILED.lower(), "reasons": [context.left_out[domain]]}
            continue
        bundle, card = Bundle.load(bundles[domain]), bundles[domain] / CARD_FILE
        digests = {"bundle": bundle.digest, "sampler": bundle.model_digest, "index": bundle.index_digest} | shared
        files = (samplers[domain] / "sampler.onnx", report / "report.html", verdict_file, record, card)
        tags = version_tags(versions) | {"code_commit": str(code), "feature_service": bundle.feature_service["name"]}
        status, figures, held_back = judged["status"], judged["figures"], context.held_back()
        text = card.read_text(encoding="utf-8")
        example = example_request(bundles[domain] / CANARIES_FILE)
        submission = Submission(domain, status, run_uri, digests, figures, files, tags, held_back, text, example)
        found = registry.register(submission)
        registrations[domain] = asdict(found) | {"digests": digests}
    write_document(context.output("registration") / REGISTRATION_FILE, registrations)
    return {domain: entry.get("version") for domain, entry in registrations.items()}


def _stages(context: StepContext) -> list[TrackedStage]:
    sections = {name: getattr(context.params, name).model_dump() for name in context.step.params}
    folders = [(name, {SHARED: context.input(name)}) for name in SHARED_STAGES]
    folders += [(name, context.inputs_by_domain(name)) for name in DOMAIN_STAGES]
    of_stage = {**SHARED_STAGES, **DOMAIN_STAGES}
    stages = [
        TrackedStage.read(folder, name, domain, sections[of_stage[name]] | {"model": sections["model"]})
        for name, by_domain in folders
        for domain, folder in by_domain.items()
    ]
    hppo = sections["hppo"] | {"model": sections["model"]}
    return stages + [
        TrackedStage.read(variant.folder, variant.stage, domain, hppo | {"variant": variant.name})
        for domain, folder in context.inputs_by_domain("hppo_variants").items()
        for variant in read_variants(folder).trained
    ]
