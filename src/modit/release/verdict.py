"""The verdict of a run as people see it. It shows what the gate wrote and judges nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from modit.core.artifacts import ArtifactStore
from modit.core.errors import ArtifactError
from modit.core.names import SKIPPED_NO_DATA
from modit.core.storage import Storage
from modit.core.workspace import cache_folder
from modit.evaluate.names import AGAINST_CHAMPION, AVERAGE, CHAMPION, SERVED_AGAINST_AVERAGE
from modit.release.kinds import KINDS, OF_SEEDS, REPORT, ReleaseKind, kind_of

Json = dict[str, Any]

VERDICT_FILE = "verdict.json"
# Statuses of a domain. A run has PASS or FAIL.
PASS, FAIL, SKIPPED, FAILED = "PASS", "FAIL", "SKIPPED", "FAILED"
# Figures of rows, as verdicts of kinds that are judged once have them, and as people read them.
FIGURES = {
    "ndcg_at_10": "NDCG@10",
    "recall_at_10": "Recall@10",
    "recall_at_100": "Recall@100",
    "coverage": "coverage",
    "diversity": "diversity",
}
# Most lines that a terminal shows of a verdict; `verdict.txt` has all.
MOST_LINES = 25
_MOST_REASONS = 3


def read_verdict(run_uri: str) -> Json:
    """The verdict of a run: `status`, and for each domain `status`, `reasons` and `figures`.

    A run whose window held no new data ends before the gate; its verdict is `SKIPPED_NO_DATA` with a `reason`.

    Raises:
        ArtifactError: The run has no verdict, or it is damaged.
    """
    store = ArtifactStore(Storage(run_uri), cache_folder())
    validation = store.find("validation")
    if validation and validation.summary.get("outcome") == SKIPPED_NO_DATA:
        return {"status": SKIPPED_NO_DATA, "domains": {}, "reason": validation.summary["reason"]}
    artifact = _kind_in(store).verdict
    verdict = store.read_json(artifact, VERDICT_FILE)
    if missing := {"status", "domains"} - set(verdict):
        raise ArtifactError(f"{store.at(artifact).uri}/{VERDICT_FILE} lacks {', '.join(sorted(missing))}")
    return verdict


def _kind_in(store: ArtifactStore) -> ReleaseKind:
    """The kind that a run has a verdict on; that of domains where it has none."""
    return next((kind for kind in KINDS if store.find(kind.verdict)), OF_SEEDS)


def verdict_text(verdict: Json, most: int | None = MOST_LINES) -> str:
    """A verdict as at most so many lines (None: all): each domain with its figures, and why it was not passed."""
    if verdict["status"] == SKIPPED_NO_DATA:
        return f"{verdict['reason']}\n\nverdict: {SKIPPED_NO_DATA}"
    width = max((len(name) for name in verdict["domains"]), default=0)
    end = ["", *_versions(verdict), f"verdict: {verdict['status']}"]
    lines: list[str] = []
    for name, domain in sorted(verdict["domains"].items()):
        lines.append(f"{name:<{width}}  {domain['status']:<7}  {_headline(domain)}".rstrip())
        lines += [f"{'':<{width}}  - {sentence}" for sentence in _details(domain, most)]
    if most is not None and len(lines) + len(end) > most:
        left = len(lines) - (most - len(end) - 1)
        lines = [*lines[:-left], f"({left} more lines: verdict.txt of the run)"]
    return "\n".join([*lines, *end])


def _headline(domain: Json) -> str:
    """What the domain was judged against; of a domain that was not judged, why."""
    if domain["status"] in (SKIPPED, FAILED):
        return " ".join(domain["reasons"])
    return str(domain.get("basis") or "")


def _details(domain: Json, most: int | None) -> Iterator[str]:
    if domain["status"] in (SKIPPED, FAILED):
        return
    for split, figures in domain.get("splits", {}).items():
        yield _split_sentence(split, figures)
    yield from _table(domain.get("rows", []))
    reasons = domain["reasons"] if domain["status"] == FAIL else []
    shown = reasons if most is None else reasons[:_MOST_REASONS]
    yield from (f"not promoted: {reason}" for reason in shown)
    if len(reasons) > len(shown):
        yield f"not promoted: {len(reasons) - len(shown)} more reasons"


def _split_sentence(split: str, figures: Json) -> str:
    """Such as "item-holdout: Joint@K 0.365, +23.6 points over Average pooling (+19.9 to +26.9); query alone 0.318"."""
    differences = figures["differences"]
    other = CHAMPION if AGAINST_CHAMPION in differences else AVERAGE
    gain = differences[AGAINST_CHAMPION if other == CHAMPION else SERVED_AGAINST_AVERAGE]
    low, high = gain["pattern_low"], gain["pattern_high"]
    interval = f"{100 * low:+.1f} to {100 * high:+.1f}" if low is not None else "too few patterns to tell"
    change = f"{100 * gain['mean']:+.1f} points over {other} ({interval})"
    joint, single = figures["joint"]["hppo_reranked"], figures["joint"]["hppo"]
    # Where the second stage is off, the lists are the same.
    alone = f"; query alone {single:.3f}" if single != joint else ""
    untrained = figures["joint"].get("before_training")
    before = "" if untrained is None else f" (before training {untrained:.3f})"
    return f"{split.replace('_', '-')}: Joint@K {joint:.3f}{before}, {change}{alone}"


def _table(rows: Sequence[Json]) -> Iterator[str]:
    """The rows of a table of figures, as in the evaluation; nothing for domains, which have splits instead."""
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        between = "" if row["low"] is None else f"  ({row['low']:.4f} to {row['high']:.4f})"
        first, *others = (f"{name} {value:.4f}" for name, value in figures_of(row).items())
        yield "  ".join([f"{row['name']:<{width}}", first + between, *others])


def figures_of(row: Json) -> dict[str, float]:
    """Figures of a row of a verdict by their names; the first is that of the interval."""
    return {name: row[key] for key, name in FIGURES.items() if key in row}


def judged_in_words(domain: Json) -> list[str]:
    """What a domain of `verdict.json` was judged against, and the gate's conclusion; without these, its reasons."""
    against = [f"basis: {domain['basis']}"] if domain.get("basis") else []
    if "words" not in domain:
        return [*against, *domain.get("reasons", [])]
    if domain["status"] != FAIL:
        return [*against, domain["words"]]
    return [*against, *(f"not promoted: {reason}" for reason in domain["reasons"])]


def served_figures(run_uri: str) -> list[str]:
    """What serving each judged model took when it was tried, a line each; none where it was not tried."""
    store = ArtifactStore(Storage(run_uri), cache_folder())
    domains = read_verdict(run_uri)["domains"] if store.find(_kind_in(store).verdict) else {}
    trials = {name: kind_of(name) for name in sorted(domains)}
    found = {name: store.find(kind.servability, kind.folder_of(name)) for name, kind in trials.items()}
    figures = {name: each.summary for name, each in found.items() if each and "p99_ms" in each.summary}
    return [
        f"{name}: p50 {each['p50_ms']:.1f} ms, p99 {each['p99_ms']:.1f} ms{_reranked(each)}, {each['peak_mb']:.0f} MiB"
        for name, each in figures.items()
    ]


def _reranked(figures: Json) -> str:
    """What the second stage adds; nothing in runs of before it."""
    if "rerank_p99_ms" not in figures:
        return ""
    return f" (reranked: p50 {figures['rerank_p50_ms']:.1f} ms, p99 {figures['rerank_p99_ms']:.1f} ms)"


def _versions(verdict: Json) -> list[str]:
    """A line with the versions of the data that was judged, or why there are none."""
    record = verdict.get("versions")
    if record is None:
        return []
    names = [f"{name} {version['md5'][:12]}" for name, version in record["datasets"].items()]
    return [f"data:    {', '.join(names) or record['reason']}"]


def report_pages(run_uri: str) -> list[str]:
    """Addresses of the pages of the run's report, to open in a browser; none where it has no report."""
    return [page for kind in KINDS for page in _pages(run_uri, kind.parts[REPORT].artifact, ".html")]


def data_docs(run_uri: str) -> list[str]:
    """Address of the first page of the run's data docs; none where it has none."""
    return _pages(run_uri, "validation", "/index.html")


def _pages(run_uri: str, artifact: str, ending: str) -> list[str]:
    store = ArtifactStore(Storage(run_uri), cache_folder())
    manifest = store.find(artifact)
    pages = [entry.name for entry in manifest.files if entry.name.endswith(ending)] if manifest else []
    return [f"{store.at(artifact).uri}/{page}" for page in pages]
