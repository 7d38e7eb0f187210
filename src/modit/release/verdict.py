"""The verdict of a run as a table for people. It reads what the gate wrote and judges nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modit.core.artifacts import ArtifactStore
from modit.core.errors import ArtifactError
from modit.core.names import SKIPPED_NO_DATA
from modit.core.storage import Storage
from modit.core.workspace import cache_folder

VERDICT_FILE = "verdict.json"
# What the gate says of a domain, and of a run.
PASS, FAIL, SKIPPED = "PASS", "FAIL", "SKIPPED"


def read_verdict(run_uri: str) -> dict[str, Any]:
    """The verdict of a run: `status`, and per domain `status`, `reasons` and `figures`.

    A run whose window held nothing new ends before the gate; its verdict is `SKIPPED_NO_DATA` with a `reason`.

    Raises:
        ArtifactError: the run has no verdict, or it is damaged.
    """
    store = ArtifactStore(Storage(run_uri), cache_folder())
    validation = store.find("validation")
    if validation and validation.summary.get("outcome") == SKIPPED_NO_DATA:
        return {"status": SKIPPED_NO_DATA, "domains": {}, "reason": validation.summary["reason"]}
    verdict = store.read_json("verdict", VERDICT_FILE)
    missing = {"status", "domains"} - set(verdict)
    if missing:
        raise ArtifactError(f"{store.at('verdict').uri}/{VERDICT_FILE} lacks {', '.join(sorted(missing))}")
    return verdict


def verdict_table(verdict: dict[str, Any]) -> str:
    """The verdict as lines: a domain each with its figures, its reasons below."""
    if verdict["status"] == SKIPPED_NO_DATA:
        return f"{verdict['reason']}\n\nverdict: {SKIPPED_NO_DATA}"
    rows = [("domain", "verdict", "figures")]
    reasons: list[list[str]] = [[]]
    for name, domain in sorted(verdict["domains"].items()):
        figures = "  ".join(f"{key} {_short(value)}" for key, value in domain.get("figures", {}).items())
        rows.append((name, domain["status"], figures))
        reasons.append(judged_in_words(domain))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    lines = []
    for (name, status, figures), why in zip(rows, reasons, strict=True):
        lines.append(f"{name:<{widths[0]}}  {status:<{widths[1]}}  {figures}".rstrip())
        lines += [f"{'':<{widths[0]}}  - {reason}" for reason in why]
    return "\n".join([*lines, "", *_versions(verdict), f"verdict: {verdict['status']}"])


def judged_in_words(domain: dict[str, Any]) -> list[str]:
    """What a domain was judged against, and the gate's word; of a verdict that has neither, its reasons.

    Args:
        domain: its part of `verdict.json`.
    """
    against = [f"basis: {domain['basis']}"] if domain.get("basis") else []
    offers = [each["words"] for each in domain.get("precisions", {}).values()]
    reasons = domain.get("reasons", [])
    if "words" not in domain:
        return [*against, *reasons]
    if domain["status"] != FAIL:
        return [*against, domain["words"], *offers]
    return [*against, *(f"not promoted: {reason}" for reason in reasons), *offers]


def served_figures(run_uri: str) -> list[str]:
    """What serving each judged sampler took when it was tried, a line each; none where that was not tried."""
    store = ArtifactStore(Storage(run_uri), cache_folder())
    verdict = store.find("verdict")
    domains = read_verdict(run_uri)["domains"] if verdict else {}
    found = {name: store.find("servability", name) for name in sorted(domains)}
    figures = {name: each.summary for name, each in found.items() if each and "p99_ms" in each.summary}
    return [
        f"{name}: {_times(each)}, {each['peak_mb']:.0f} MiB{_served_in_int8(each)}" for name, each in figures.items()
    ]


def _times(summary: dict[str, Any], prefix: str = "") -> str:
    return ", ".join(f"{name} {summary[f'{prefix}{name}_ms']:.1f} ms" for name in ("p50", "p99"))


def _served_in_int8(summary: dict[str, Any]) -> str:
    if "int8_p99_ms" not in summary:
        return ""
    size = f"{summary['int8_bytes'] / 2**20:.1f} of {summary['bytes'] / 2**20:.1f} MiB"
    return f"; int8: {_times(summary, 'int8_')}, file {size}"


def _versions(verdict: dict[str, Any]) -> list[str]:
    """A line that says which data was judged, or why nobody can say it later."""
    record = verdict.get("versions")
    if record is None:
        return []
    names = [f"{name} {version['md5'][:12]}" for name, version in record["datasets"].items()]
    return [f"data:    {', '.join(names) or record['reason']}"]


def report_pages(run_uri: str) -> list[str]:
    """Addresses of the pages of the run's report, to open in a browser; none where it has no report."""
    store = ArtifactStore(Storage(run_uri), cache_folder())
    manifest = store.find("report")
    pages = [entry.name for entry in manifest.files if Path(entry.name).suffix == ".html"] if manifest else []
    return [f"{store.at('report').uri}/{page}" for page in pages]


def data_docs(run_uri: str) -> list[str]:
    """Address of the first page of the run's data docs; none where it has none."""
    store = ArtifactStore(Storage(run_uri), cache_folder())
    manifest = store.find("validation")
    pages = [entry.name for entry in manifest.files if entry.name.endswith("/index.html")] if manifest else []
    return [f"{store.at('validation').uri}/{page}" for page in pages]


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
