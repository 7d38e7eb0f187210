"""The record of a released run, `record.json`: all that running it again needs, and the digests to compare with.

It is kept with the model version in MLflow, so that a version can be reproduced after its run's folder has gone.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from modit.core.artifacts import Manifest
from modit.core.errors import ArtifactError
from modit.core.run_config import RunConfig
from modit.release.versioning.code_state import CodeState, parse_code_state

Json = dict[str, Any]

RECORD_FILE = "record.json"
THREADS_VARIABLE = "OMP_NUM_THREADS"
_SCHEMA_VERSION = 1
# What computes; a difference here can change the last bits.
_LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "faiss-cpu", "pandas", "pyarrow", "onnx", "onnxruntime")


@dataclass(frozen=True)
class RecordedArtifact:
    """An artifact of the recorded run.

    Attributes:
        kind: its name.
        domain: its domain, or None.
        step: who wrote it.
        digest: of the artifact.
        files: sha256 of each file.
    """

    kind: str
    domain: str | None
    step: str
    digest: str
    files: dict[str, str]

    @property
    def label(self) -> str:
        """Name for people."""
        return f"{self.kind}/{self.domain}" if self.domain else self.kind


@dataclass(frozen=True)
class Record:
    """A released run.

    Attributes:
        run: its address.
        conf: its `run.json`.
        seed: that it ran with.
        params: every section that a step read, with preset and overrides.
        code: the checkout that registered it.
        code_parts: step -> hashes of the modules that it imports.
        environment: of the step that registered it.
        remote: of the DVC repository; empty when nothing was versioned.
        versions: content of `versions.json`.
        artifacts: in pipeline order.
    """

    run: str
    conf: Json
    seed: int
    params: Json
    code: CodeState
    code_parts: dict[str, dict[str, str]]
    environment: dict[str, str]
    remote: str
    versions: Json
    artifacts: tuple[RecordedArtifact, ...]

    def save(self, path: Path) -> None:
        """Writes it as JSON."""
        content = {
            **vars(self),
            "schema_version": _SCHEMA_VERSION,
            "code": str(self.code),
            "artifacts": [vars(entry) for entry in self.artifacts],
        }
        path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Record:
        """Reads what `save` wrote.

        Raises:
            ArtifactError: of another schema.
        """
        content = json.loads(path.read_text(encoding="utf-8"))
        found = content.pop("schema_version", None)
        if found != _SCHEMA_VERSION:
            raise ArtifactError(f"{path}: schema_version is {found!r}; this version of modit reads {_SCHEMA_VERSION}")
        entries = tuple(RecordedArtifact(**entry) for entry in content.pop("artifacts"))
        return cls(**content | {"code": parse_code_state(content["code"]), "artifacts": entries})


def record_of(
    run: str, conf: RunConfig, seed: int, lineage: Sequence[Manifest], versions: Json, code: CodeState
) -> Record:
    """Collects the record of a run from the manifests of what was released.

    Args:
        run: address of the run.
        conf: what the run is about.
        seed: of the run.
        lineage: the manifests, in pipeline order; that of `versions` names the remote.
        versions: content of `versions.json`.
        code: what is running.
    """
    params: Json = {}
    for manifest in lineage:
        params |= manifest.key_parts["params"]
    summaries: Mapping[str, Json] = {manifest.kind: manifest.summary for manifest in lineage}
    entries = tuple(
        RecordedArtifact(each.kind, each.domain, each.step, each.digest, {f.name: f.sha256 for f in each.files})
        for each in lineage
    )
    return Record(
        run=run,
        conf=conf.model_dump(mode="json"),
        seed=seed,
        params=params,
        code=code,
        code_parts={manifest.step: manifest.key_parts["code"] for manifest in lineage},
        environment=environment(),
        remote=summaries.get("versions", {}).get("remote", ""),
        versions=versions,
        artifacts=entries,
    )


def environment() -> dict[str, str]:
    """What can change the last bits of a result: machine type, threads and versions of libraries."""
    versions = {distribution: _version(distribution) for distribution in _LIBRARIES}
    return {
        "machine": f"{platform.system()} {platform.machine()}, {_processor()}",
        "accelerators": str(len(list(Path("/dev").glob("nvidia[0-9]*")))),
        "python": platform.python_version(),
        THREADS_VARIABLE: os.environ.get(THREADS_VARIABLE, ""),
        **versions,
    }


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown processor"
    )
