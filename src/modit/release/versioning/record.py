"""The record of a released run, `record.json`: everything that running it again needs, and the digests to compare.

It is kept with the model version in MLflow, so a version can be reproduced after its run's folder was deleted.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from pydantic import with_config

from modit.core.artifacts import Manifest
from modit.core.run_config import RunConfig
from modit.release.documents import STRICT, Json, read_document, write_document
from modit.release.versioning.code_state import CodeState

RECORD_FILE = "record.json"
THREADS_VARIABLE = "OMP_NUM_THREADS"
_SCHEMA_VERSION = 1
# What computes; a difference here can change the last bits.
_LIBRARIES = (
    "torch",
    "numpy",
    "scipy",
    "scikit-learn",
    "faiss-cpu",
    "bm25s",
    "pystemmer",
    "pandas",
    "pyarrow",
    "onnx",
    "onnxruntime",
)


@with_config(STRICT)
@dataclass(frozen=True)
class RecordedArtifact:
    """An artifact of the recorded run, with its digest and the sha256 of each file."""

    kind: str
    domain: str | None
    step: str
    digest: str
    files: dict[str, str]

    @property
    def label(self) -> str:
        """Name for people."""
        return f"{self.kind}/{self.domain}" if self.domain else self.kind


@with_config(STRICT)
@dataclass(frozen=True)
class Record:
    """A released run.

    Attributes:
        run: Its address.
        conf: Its `run.json`.
        params: Every section that a step read, with preset and overrides.
        code: The checkout that registered it, as text.
        code_parts: Step -> hashes of the modules that it imports.
        environment: Of the step that registered it.
        remote: Of the DVC repository; empty when nothing was versioned.
        versions: Content of `versions.json`.
        artifacts: In pipeline order.
    """

    run: str
    conf: Json
    seed: int
    params: Json
    code: str
    code_parts: dict[str, dict[str, str]]
    environment: dict[str, str]
    remote: str
    versions: Json
    artifacts: tuple[RecordedArtifact, ...]
    schema_version: int = _SCHEMA_VERSION

    def save(self, path: Path) -> None:
        """Writes it as JSON."""
        write_document(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> Record:
        """Reads what `save` wrote.

        Raises:
            ArtifactError: The file is missing, damaged or of another schema.
        """
        return read_document(path, cls, _SCHEMA_VERSION)


def record_of(
    run: str, conf: RunConfig, seed: int, lineage: Sequence[Manifest], versions: Json, code: CodeState
) -> Record:
    """Collects the record of a run from the manifests of what was released, in pipeline order (`lineage`)."""
    summaries: Mapping[str, Json] = {manifest.kind: manifest.summary for manifest in lineage}
    return Record(
        run=run,
        conf=conf.model_dump(mode="json"),
        seed=seed,
        params={name: section for each in lineage for name, section in each.key_parts["params"].items()},
        code=str(code),
        code_parts={manifest.step: manifest.key_parts["code"] for manifest in lineage},
        environment=environment(),
        remote=next((each["remote"] for each in summaries.values() if "remote" in each), ""),
        versions=versions,
        artifacts=tuple(
            RecordedArtifact(each.kind, each.domain, each.step, each.digest, {f.name: f.sha256 for f in each.files})
            for each in lineage
        ),
    )


def environment() -> dict[str, str]:
    """What can change the last bits of a result: machine type, threads and versions of libraries."""
    return {
        "machine": f"{platform.system()} {platform.machine()}, {_processor()}",
        "accelerators": str(len(list(Path("/dev").glob("nvidia[0-9]*")))),
        "python": platform.python_version(),
        THREADS_VARIABLE: os.environ.get(THREADS_VARIABLE, ""),
        **{distribution: _version(distribution) for distribution in _LIBRARIES},
    }


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown processor")
