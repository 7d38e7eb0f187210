"""What runs say of the families that they trained: quality on their own task, latency, memory, sizes, training time.

Everything is read from artifacts and manifests. A figure that is not there has a reason in its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from modit.core.artifacts import ArtifactStore, Manifest
from modit.core.errors import ArtifactError, ConfigError
from modit.core.storage import Storage
from modit.core.workspace import cache_folder
from modit.data.catalog import Catalog
from modit.evaluate.bootstrap import paired_interval
from modit.evaluate.families.families import FAMILIES, Family, Files
from modit.evaluate.next_item.names import SASREC_BINARY, SASREC_FULL
from modit.evaluate.storage import PER_CASE_FILE, load_evaluation, read_json
from modit.evaluate.task import Json
from modit.training.checkpoint import count_weights

_RIVAL_MODELS = (SASREC_BINARY, SASREC_FULL)
_MIB = 1 << 20


@dataclass(frozen=True, eq=False)
class Run:
    """A run whose families are compared.

    Attributes:
        store: Its artifacts.
        name: For people, different from those of the other runs.
    """

    store: ArtifactStore
    name: str

    @property
    def uri(self) -> str:
        """Its address."""
        return self.store.run.uri

    @cached_property
    def catalog(self) -> Catalog:
        """What it was trained and judged on."""
        return Catalog.load(self.store.read("catalog"))

    def members(self) -> list[Member]:
        """The retrievers of this run, in the order of the families and of the domains."""
        found = []
        for family in FAMILIES:
            domains: Sequence[str | None] = self.catalog.domains if family.per_domain else [None]
            members = [Member(self, family, domain) for domain in domains]
            found += [each for each in members if each.manifest(family.evaluation) or each.manifest(each.exported)]
        return found


@dataclass(frozen=True, eq=False)
class Member:
    """A retriever of a run: of a family, and of a domain where the family has one for each."""

    run: Run
    family: Family
    domain: str | None

    @property
    def name(self) -> str:
        """For people, within its run."""
        return f"{self.family.name} {self.domain}" if self.domain else self.family.name

    @property
    def exported(self) -> str:
        """Artifact of its exported network."""
        return next(iter(self.family.served))

    def manifest(self, artifact: str) -> Manifest | None:
        """Of an artifact of its own domain or of the run; None where there is none."""
        store = self.run.store
        return (store.find(artifact, self.domain) if self.domain else None) or store.find(artifact)

    def folder(self, artifact: str) -> Path:
        """The verified files of an artifact; ArtifactError where it is missing or damaged."""
        return self.run.store.read(artifact, getattr(self.manifest(artifact), "domain", self.domain))

    def as_json(self) -> Json:
        """Every figure as {"value": ...}, or {"missing": reason}."""
        return {
            "family": self.family.name,
            "domain": self.domain,
            "run": self.run.name,
            "words": dict(self.family.words),
            "quality": self._quality(),
            "request": self._or_reason(self._request),
            **self._trial(),
            "files_mb": self._or_reason(lambda: self._size(self.family.served)),
            "shared_files_mb": self._or_reason(lambda: self._size(self.family.shared)),
            "training_seconds": self._or_reason(lambda: self._seconds(self.family.trained)),
            "shared_training_seconds": self._or_reason(lambda: self._seconds(self.family.trained_for_all)),
            "parameters": self._or_reason(self._parameters),
        }

    def _or_reason(self, read: Any) -> Json:
        """A figure as {"value": ...}, or why there is none."""
        try:
            return {"value": read()}
        except ArtifactError as error:
            return {"missing": self.reason(error)}

    def reason(self, error: ArtifactError) -> str:
        """Why a figure is missing, with files named as they are called in the run."""
        return str(error).replace(f"{self.run.uri}/", "")

    def _expect(self, artifact: str) -> Manifest:
        if found := self.manifest(artifact):
            return found
        raise ArtifactError(f"the run has no artifact {artifact}")

    def info(self) -> Json:
        """Facts of the exported network, from the file beside it."""
        self._expect(self.exported)
        return read_json(self.folder(self.exported) / self.family.info)

    def _request(self) -> str:
        field, what = self.family.request
        return f"{self.info()[field]} {what}"

    def _parameters(self) -> int:
        """Of the network; 0 where validation chose to serve none, so that the exported file has none."""
        if self.info().get("network_share") == 0:
            return 0
        artifact, file = self.family.network
        self._expect(artifact)
        return count_weights(self.folder(artifact) / file)

    def _trial(self) -> Json:
        """Latency and memory of the trial in a fresh process."""

        def of(figure: str) -> float:
            manifest = self._expect(self.family.trial)
            if figure in manifest.summary:
                return float(manifest.summary[figure])
            checks = read_json(self.folder(self.family.trial) / "servability.json")["checks"]
            failed = [check["sentence"] for check in checks if not check["holds"]]
            raise ArtifactError(failed[0] if failed else "the trial of this run did not measure it")

        names = ("p50_ms", "p99_ms", "peak_mb", *(("rerank_p50_ms", "rerank_p99_ms") if self.domain else ()))
        return {name: self._or_reason(lambda name=name: of(name)) for name in names}

    def _size(self, files: Files) -> float:
        """MiB of files of artifacts."""
        entries = [
            entry
            for artifact, names in files.items()
            for entry in self._expect(artifact).files
            if names is None or entry.name in names
        ]
        return sum(entry.size for entry in entries) / _MIB

    def _seconds(self, artifacts: Sequence[str]) -> float:
        """What the steps worked that wrote these artifacts."""
        total = 0.0
        for artifact in artifacts:
            seconds = self._expect(artifact).seconds
            if seconds is None:
                raise ArtifactError(f"the manifest of {artifact} is of a version that noted no times")
            total += seconds
        return total

    def _quality(self) -> list[Json]:
        """The figures of the served row on its own task, and the best rival's; or why there is none."""
        try:
            self._expect(self.family.evaluation)
            folder = self.folder(self.family.evaluation)
            return list(self._figures(load_evaluation(folder), folder / PER_CASE_FILE))
        except ArtifactError as error:
            return [{"missing": self.reason(error)}]

    def _figures(self, content: Json, per_case: Path) -> Iterator[Json]:
        row = self.family.row
        arrays = np.load(per_case, allow_pickle=False)
        for split, result in content["splits"].items():
            about = {"split": split, "about": self.family.cases.get(split, split), "cases": result["cases"]}
            if not result["cases"]:
                yield about | {"missing": result["reason"]}
                continue
            rows = {each["name"]: each for each in result["rows"]}
            if row not in rows:
                yield about | {"missing": f"the evaluation has no row {row!r}"}
                continue
            for figure, label in self.family.figures.items():
                label = label.format(k=content.get("k"))
                found = {"figure": label, "places": self.family.places, "row": row} | _with_interval(rows[row], figure)
                if rival := best_rival(result["rows"], figure):
                    values, other = (arrays[f"{split}/{name}/{figure}"] for name in (row, rival))
                    clusters, drawn = arrays[f"{split}/patterns"], (content["seed"], content["resamples"])
                    found["rival"] = {"row": rival} | _with_interval(rows[rival], figure)
                    found["difference"] = paired_interval(values - other, clusters, *drawn)
                yield about | found


def best_rival(rows: Sequence[Json], figure: str) -> str | None:
    """The best of the rows that are of no family, by a figure on the test cases themselves; None where there is none.

    That is stricter than a rival that validation chose.
    """
    rivals = [row for row in rows if row["kind"] in ("classical", "two_stage") or row["name"] in _RIVAL_MODELS]
    return max(rivals, key=lambda row: row[figure])["name"] if rivals else None


def _with_interval(row: Json, figure: str) -> Json:
    return {"mean": row[figure], "interval": row[f"{figure}_interval"]}


def open_runs(uris: Sequence[str]) -> list[Run]:
    """Opens runs, and checks that what they say can stand side by side.

    Args:
        uris: Addresses of their folders.

    Raises:
        ConfigError: A run is named twice, has no catalogue or no retriever, or its items are not those of the first.
    """
    places = [Storage(uri) for uri in uris]
    if twice := {each.uri for each in places if [other.uri for other in places].count(each.uri) > 1}:
        raise ConfigError(f"--run names {', '.join(sorted(twice))} twice; allowed: each run once")
    names = [each.name for each in places]
    names = names if len(set(names)) == len(names) else [each.uri for each in places]
    runs = [Run(ArtifactStore(place, cache_folder()), name) for place, name in zip(places, names, strict=True)]
    for run in runs:
        if run.store.find("catalog") is None:
            raise ConfigError(f"--run {run.uri}: no artifact catalog; allowed: the folder of a run of modit")
        if not run.members():
            wanted = ", ".join(f"{each.evaluation} (pipeline {each.pipeline})" for each in FAMILIES)
            raise ConfigError(f"--run {run.uri}: nothing to compare yet; needed is one of the artifacts {wanted}")
        if not np.array_equal(run.catalog.item_ids, runs[0].catalog.item_ids):
            counts = " and ".join(f"{each.uri} has {len(each.catalog):,}" for each in (runs[0], run))
            raise ConfigError(
                f"--run: the runs have different items, so their figures cannot stand side by side: {counts} items; "
                "allowed: runs over one catalogue"
            )
    return runs
