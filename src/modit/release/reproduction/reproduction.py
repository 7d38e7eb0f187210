"""What came out of running a version again, compared artifact by artifact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modit.core.artifacts import ArtifactStore
from modit.core.storage import Storage
from modit.core.workspace import cache_folder
from modit.release.versioning.record import THREADS_VARIABLE, Entry, Record, environment


@dataclass(frozen=True)
class Comparison:
    """An artifact of the recorded run beside that of the new run.

    Attributes:
        entry: what was recorded.
        differing: names of files that are missing, new or of another content; empty when the digests are equal.
    """

    entry: Entry
    differing: tuple[str, ...]


@dataclass(frozen=True)
class Reproduction:
    """What came out.

    Attributes:
        code: which code ran, for people.
        run: folder of the new run.
        comparisons: in pipeline order.
        environment: name -> recorded and present value, where they differ.
    """

    code: str
    run: Path
    comparisons: tuple[Comparison, ...]
    environment: dict[str, tuple[str, str]]

    @property
    def first_difference(self) -> Comparison | None:
        """The first artifact in pipeline order that came out differently."""
        return next((each for each in self.comparisons if each.differing), None)


def compare(record: Record, run: Path) -> Iterator[Comparison]:
    """Compares the artifacts of a run with the recorded ones, in pipeline order."""
    store = ArtifactStore(Storage(str(run)), cache_folder())
    for entry in record.artifacts:
        found = store.find(entry.kind, entry.domain)
        files = {file.name: file.sha256 for file in found.files} if found else {}
        names = sorted(name for name in {*files, *entry.files} if files.get(name) != entry.files.get(name))
        yield Comparison(entry, tuple(names))


def environment_changes(record: Record) -> dict[str, tuple[str, str]]:
    """What is not as it was when the version was registered, without the threads, which are set to what they were."""
    here = environment() | {THREADS_VARIABLE: record.environment[THREADS_VARIABLE]}
    return {name: (was, here.get(name, "")) for name, was in record.environment.items() if here.get(name, "") != was}


def reproduction_text(found: Reproduction) -> str:
    """Lines for a terminal: each artifact, then what it comes to."""
    width = max(len(each.entry.label) for each in found.comparisons)
    lines = [f"code: {found.code}", f"run:  {found.run}", ""]
    for each in found.comparisons:
        verdict = f"DIFFERS in {', '.join(each.differing)}" if each.differing else f"equal  {each.entry.digest[:16]}"
        lines.append(f"{each.entry.label:<{width}}  {verdict}")
    differing = sum(bool(each.differing) for each in found.comparisons)
    first = found.first_difference
    lines.append("")
    if first is None:
        lines.append(f"REPRODUCED: all {len(found.comparisons)} artifacts have the recorded digests")
    else:
        lines.append(f"NOT REPRODUCED: {differing} of {len(found.comparisons)} artifacts differ")
        lines.append(f"first: {first.entry.label}, {first.differing[0]}, written by {first.entry.step}")
    changes = [f"  {name}: recorded {was}, here {now}" for name, (was, now) in found.environment.items()]
    return "\n".join([*lines, *(["what is not as it was:", *changes] if changes else [])])
