"""Parts of a sharded task's artifacts, kept in `.parts/TASK/KEY/` of the run until the last shard merges them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modit.core.artifacts import MANIFEST, ArtifactStore, Manifest
from modit.core.errors import ArtifactError
from modit.core.key import Task
from modit.core.step import Shard, Step
from modit.core.storage import Storage
from modit.core.workspace import Workspace

PARTS_FOLDER = ".parts"


@dataclass(frozen=True)
class Work:
    """Result of a step's work: its summary, and its working time (of shards, the sum)."""

    summary: dict[str, Any]
    seconds: float

    @classmethod
    def of_shards(cls, step: Step, manifests: Sequence[Manifest]) -> Work:
        """Returns all shards' work as one, from the manifest of one part of each."""
        seconds = sum(manifest.seconds or 0.0 for manifest in manifests)
        return cls(combined(step, [manifest.summary for manifest in manifests]), round(seconds, 3))


class ShardParts:
    """The parts of one task's artifacts. Each shard publishes its part as a whole, in a store of its own."""

    def __init__(self, store: ArtifactStore, task: Task) -> None:
        """Opens the parts of a task; `task` is that of one of the shards."""
        self.task, self._cache = task, store.cache
        self._all = store.run.at(PARTS_FOLDER, ".".join(filter(None, (task.step.name, task.domain))))
        self._place = self._all.at(task.key[:16])

    @property
    def notes(self) -> Storage:
        """Folder for small files that all shards and later attempts read."""
        return self._place.at("notes")

    def store(self, shard: Shard) -> ArtifactStore:
        """Where a shard's part is or will be."""
        return ArtifactStore(self._place.at(shard.name), self._cache)

    def put(self, workspace: Workspace, manifests: Sequence[Manifest]) -> None:
        """Publishes what this task's shard has written in its workspace."""
        for manifest in manifests:
            self.store(self.task.shard).write(workspace.output(manifest.kind), manifest)

    def find(self, shard: Shard) -> list[Manifest]:
        """Manifests of a shard's part; none while it is not whole."""
        store = self.store(shard)
        found = [store.find(name, self.task.domain) for name in self.task.step.outputs]
        whole = [each for each in found if each and each.key == self.task.key and store.is_complete(each)]
        return whole if len(whole) == len(found) else []

    def find_all(self) -> dict[Shard, list[Manifest]]:
        """The same of every shard."""
        return {shard: self.find(shard) for shard in Shard.all_of(self.task.shard.count)}

    def join(self, workspace: Workspace) -> None:
        """Puts the files of all parts together, as the outputs of a workspace.

        Raises:
            ArtifactError: a part is missing or damaged, or two have a file of one name.
        """
        workspace.start_outputs()
        for shard in Shard.all_of(self.task.shard.count):
            for name in self.task.step.outputs:
                _link(self.store(shard).read(name, self.task.domain), workspace.output(name))

    def drop(self) -> None:
        """Removes all that was left for the task: of other keys and other numbers of shards, too."""
        self._all.remove()


def combined(step: Step, summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns what the summaries of all shards, in order, say together: by the step's `totals` and `lists`."""
    names = dict.fromkeys(name for each in summaries for name in each)
    return {name: _combine(step, name, [each[name] for each in summaries if name in each]) for name in names}


def _combine(step: Step, name: str, values: list[Any]) -> Any:
    if name in step.totals:
        return _total(values)
    if name in step.lists:
        return [each for value in values for each in value]
    return values[0] if all(value == values[0] for value in values) else values


def _total(values: list[Any]) -> Any:
    if not isinstance(values[0], dict):
        return sum(values)
    names = dict.fromkeys(name for each in values for name in each)
    return {name: _total([each[name] for each in values if name in each]) for name in names}


def _link(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        if path.is_dir() or name == Path(MANIFEST):
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, target / name)
        except FileExistsError as error:
            raise ArtifactError(f"two shards wrote {target.name}/{name}; a file is of one bucket's items") from error
        except OSError:
            shutil.copyfile(path, target / name)  # a file system without links
