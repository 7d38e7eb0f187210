"""Artifacts of earlier runs, found by key: `<parent of the run>/.cache/KEY.json` says which run has them."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from modit.core.artifacts import ArtifactStore, Manifest
from modit.core.errors import ArtifactError
from modit.core.step import Step
from modit.core.storage import Storage
from modit.core.workspace import Workspace

CACHE_FOLDER = ".cache"

logger = logging.getLogger(__name__)


class CrossRunCache:
    """The index of keys beside a run."""

    def __init__(self, store: ArtifactStore) -> None:
        """Opens the index beside a run.

        Args:
            store: artifacts of the run.
        """
        self.store = store
        self.index = store.run.parent.at(CACHE_FOLDER)

    def record(self, key: str) -> None:
        """Notes that this run has the artifacts of a key; an earlier note stays while it is true."""
        self.index.create_json(f"{key}.json", {"run": self.store.run.uri})

    def reuse(self, step: Step, domain: str | None, key: str, workspace: Workspace) -> list[Manifest] | None:
        """Copies all outputs of the step from the run that has this key.

        Returns:
            Their manifests, which name their origin; None when no run has them whole.
        """
        entry = self.index.read_json(f"{key}.json")
        if entry is None or entry["run"] == self.store.run.uri:
            return None
        other = ArtifactStore(Storage(entry["run"]), self.store.cache)
        found = [other.find(name, domain) for name in step.outputs]
        manifests = [manifest for manifest in found if manifest is not None and manifest.key == key]
        if len(manifests) < len(step.outputs):
            # The other run has gone or moved on: the note is no longer true.
            self.index.write_json(f"{key}.json", {"run": self.store.run.uri})
            return None
        try:
            return copy_artifacts(other, manifests, self.store, workspace)
        except ArtifactError as error:
            logger.warning("not reused: %s", error)
            return None


def copy_artifacts(
    source: ArtifactStore, manifests: list[Manifest], target: ArtifactStore, workspace: Workspace, **changes: Any
) -> list[Manifest]:
    """Copies artifacts of one run into another, byte for byte.

    Args:
        source: where they are.
        manifests: of them.
        target: where they go.
        workspace: of the task that wants them.
        changes: fields of their new manifests.

    Returns:
        The new manifests, which name the origin.

    Raises:
        ArtifactError: one is damaged.
    """
    workspace.start_outputs()
    created = datetime.now(UTC).isoformat(timespec="seconds")
    copies = []
    for manifest in manifests:
        folder = source.read(manifest.kind, manifest.domain)
        shutil.copytree(folder, workspace.output(manifest.kind), dirs_exist_ok=True)
        origin = manifest.origin or source.at(manifest.kind, manifest.domain).uri
        copies.append(replace(manifest, origin=origin, created=created, **changes))
    for copy in copies:
        target.write(workspace.output(copy.kind), copy)
    return copies
