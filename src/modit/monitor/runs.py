"""The facts of one run, read from its manifests and reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from modit.core.artifacts import MANIFEST, Manifest
from modit.core.context import REFUSED_FOLDER
from modit.core.errors import ArtifactError
from modit.core.names import REGISTRATIONS, SKIPPED_NO_DATA
from modit.core.run_config import RUN_FILE
from modit.core.storage import Storage
from modit.release.kinds import KINDS
from modit.release.verdict import VERDICT_FILE

Json = dict[str, Any]

UNFINISHED, FINISHED, SKIPPED, REFUSED = "unfinished", "finished", "skipped", "refused"
# The artifact that says how many rows were set aside, and those that a gate may have written.
VALIDATION = "validation"
VERDICTS = tuple(f"{kind.verdict}/{VERDICT_FILE}" for kind in KINDS)
REFUSAL = f"{REFUSED_FOLDER}/validate_logs/outcome.json"


@dataclass(frozen=True)
class RunFacts:
    """The state and figures of a run.

    Attributes:
        name: The run's folder.
        catalogue: Address of its input.
        preset: Size preset.
        state: `unfinished`, `finished`, `skipped` (no new data) or `refused` (the input broke the contract).
        started: When `run.json` was written, seconds since 1970.
        finished: When the run ended, seconds since 1970; None for an unfinished run.
        verdicts: Domain -> PASS, FAIL, SKIPPED or FAILED.
        quarantine: Table -> rows set aside over rows read in the window, in [0, 1].
        steps: (step, domain or "") -> seconds that the step worked; artifacts copied from other runs are left out.
    """

    name: str
    catalogue: str
    preset: str
    state: str
    started: float
    finished: float | None
    verdicts: dict[str, str]
    quarantine: dict[str, float]
    steps: dict[tuple[str, str], float]


class RunReader:
    """Reads one run repeatedly; a file is read again only after it has changed."""

    def __init__(self, run: Storage, started: float) -> None:
        """Prepares the reader; nothing is read yet.

        Args:
            run: The run's folder.
            started: When its `run.json` was written, seconds since 1970.
        """
        self._run, self._started = run, started
        self._read: dict[str, tuple[str, Json]] = {}

    def facts(self) -> RunFacts:
        """The facts of the run now.

        Raises:
            ArtifactError: One of its files has other content than it should have.
        """
        found = self._run.filesystem.find(self._run.root, detail=True)
        # File -> a mark that changes with its content, from one listing.
        marks = {path.removeprefix(f"{self._run.root}/"): repr(entry) for path, entry in found.items()}
        try:
            return self._facts({name: self._json(name, mark) for name, mark in marks.items() if _is_fact(name)})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"{self._run.uri}: a file lacks or misstates {error}") from error

    def _facts(self, files: Mapping[str, Json]) -> RunFacts:
        manifests = {
            name.removesuffix(f"/{MANIFEST}"): Manifest.from_json(content, name)
            for name, content in files.items()
            if name.endswith(f"/{MANIFEST}")
        }
        state, finished = self._end(manifests, files)
        validated = manifests[VALIDATION].summary if VALIDATION in manifests else files.get(REFUSAL, {})
        tables = validated.get("tables", {})
        in_window = {table: counts["rows"] - counts["outside_window"] for table, counts in tables.items()}
        verdicts = [files[name] for name in VERDICTS if name in files]
        return RunFacts(
            name=self._run.name,
            catalogue=files[RUN_FILE]["catalogue"],
            preset=files[RUN_FILE]["preset"],
            state=state,
            started=self._started,
            finished=finished,
            verdicts={name: judged["status"] for each in verdicts for name, judged in each["domains"].items()},
            quarantine={table: tables[table]["set_aside"] / rows for table, rows in in_window.items() if rows > 0},
            steps={
                (each.step, each.domain or ""): each.seconds
                for each in manifests.values()
                if each.seconds is not None and each.origin is None
            },
        )

    def _end(self, manifests: Mapping[str, Manifest], files: Mapping[str, Json]) -> tuple[str, float | None]:
        """The run's state, and when it ended."""
        validation = manifests.get(VALIDATION)
        if last := next((manifests[name] for name in REGISTRATIONS if name in manifests), None):
            return FINISHED, datetime.fromisoformat(last.created).timestamp()
        if validation and validation.summary.get("outcome") == SKIPPED_NO_DATA:
            return SKIPPED, datetime.fromisoformat(validation.created).timestamp()
        if not validation and REFUSAL in files:
            return REFUSED, self._run.filesystem.modified(f"{self._run.root}/{REFUSAL}").timestamp()
        return UNFINISHED, None

    def _json(self, name: str, mark: str) -> Json:
        known = self._read.get(name)
        if known is None or known[0] != mark:
            content = self._run.read_json(name)
            if content is None:
                raise ArtifactError(f"{self._run.uri}/{name} went away while it was read")
            self._read[name] = known = mark, content
        return known[1]


def _is_fact(name: str) -> bool:
    """Whether the facts come from a file: `run.json`, a manifest, the verdict, or the outcome of a refusal."""
    *folders, file = name.split("/")
    manifest = file == MANIFEST and 1 <= len(folders) <= 2 and not name.startswith((".", REFUSED_FOLDER))
    return manifest or name in (RUN_FILE, REFUSAL, *VERDICTS)
