"""Takes the snapshot: one at a time for all runs of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from components.snapshot import DATASETS
from modit.release.versioning import snapshot
from modit.release.versioning.code_state import code_state
from modit.release.versioning.version_store import VersionStore

if TYPE_CHECKING:
    from modit.core.context import StepContext

CODE = Path(__file__).resolve().parents[2]


def run(context: StepContext) -> dict[str, object]:
    """Reads the input and the artifacts of the step's `DATASETS`; writes its versions: versions.json.

    Raises:
        LockedError: another snapshot took longer than `snapshot.lock_wait`.
        VersionError: DVC failed.
    """
    params, output, code = context.params.snapshot, context.output(context.step.outputs[0]), code_state(CODE)
    if not params.enabled:
        context.logger.warning("snapshot.enabled is false: nothing is versioned, the verdict says so")
        snapshot.save_versions(output, snapshot.versions_record(None, code))
        return {}
    lineage = context.lineage()
    folders = _folders(context, {manifest.kind for manifest in lineage if manifest.domain})
    datasets = snapshot.input_datasets(context.run_uri, context.run_config.catalogue, lineage)
    datasets |= {
        name: snapshot.artifact_dataset(parts, lineage, folders) for name, parts in DATASETS[context.step.name].items()
    }
    folder, remote = snapshot.repository_place(context.run_uri, params.remote)
    versions = VersionStore(folder, remote, params.lock_wait, f"run {context.run_uri}").track(datasets)
    snapshot.save_versions(output, snapshot.versions_record(versions, code))
    for name, version in versions.items():
        context.logger.info("%s: %s, %d files, %d bytes", name, version.path, version.files, version.bytes)
    return {"repository": str(folder), "remote": remote}


def _folders(context: StepContext, per_domain: set[str]) -> dict[str, Path]:
    folders = {name: context.input(name) for name in context.step.inputs if name not in per_domain}
    for name in per_domain.intersection(context.step.inputs):
        folders |= {f"{name}/{domain}": folder for domain, folder in context.inputs_by_domain(name).items()}
    return folders
