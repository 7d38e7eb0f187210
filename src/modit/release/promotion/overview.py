"""An overview of a domain's releases: versions, verdicts, aliases and the log, as JSON and as text."""

from __future__ import annotations

from modit.release.documents import Json
from modit.release.model_registry.mlflow_registry import MlflowRegistry
from modit.release.model_registry.model_version import LOG_TAG, OVERRIDE_TAG, REVIEW_TAG, model_name
from modit.release.model_registry.refusals import Refused
from modit.release.model_registry.release_state import read_release_state

_TAGS = ("status", "run_uri", "verdict_digest", "bundle_digest", "held_back")


def overview(registry: MlflowRegistry, domain: str, *, repair: bool = False) -> Json:
    """A domain's releases; with `repair`, aliases that were moved by hand are set to those of the log.

    Returns:
        `domain`, `model`, `log` (its address), `champion`, `previous`, `challenger` (numbers or None), `versions`,
        `entries` of the log, and `problem` (why nothing may be promoted or served, or None).
    """
    try:
        state = read_release_state(registry, domain, repair=repair)
        entries, problem = [entry.as_json() for entry in state.entries], None
    except Refused as refused:
        entries, problem = [], str(refused)
    aliases = registry.aliases(domain)
    return {
        "domain": domain,
        "model": model_name(domain),
        "log": registry.model_tags(domain).get(LOG_TAG),
        **{alias: aliases.get(alias) for alias in ("champion", "challenger", "previous")},
        "versions": [
            {
                "version": version.version,
                "aliases": sorted(alias for alias, number in aliases.items() if number == version.version),
                **{name: version.tags.get(name) for name in _TAGS},
                "review": version.tags.get(REVIEW_TAG),
                "override": version.tags.get(OVERRIDE_TAG),
            }
            for version in registry.versions(domain)
        ],
        "entries": entries,
        "problem": problem,
    }


def overview_text(found: Json) -> str:
    """The same as lines for a terminal."""
    lines = [f"{found['model']}  (log: {found['log']})"]
    for version in found["versions"]:
        decided = version["review"] or version["held_back"] or ""
        mark = f"  OVERRIDE {version['override']}" if version["override"] else ""
        names = ", ".join(version["aliases"]) or "-"
        lines.append(f"  {version['version']:>4}  {version['status']:<8}  {names:<22}  {decided}{mark}".rstrip())
        lines.append(f"        verdict {version['verdict_digest']}")
    lines += ["  log:"] if found["entries"] else ["  log: empty"]
    lines += [f"    {_line(entry)}" for entry in found["entries"]]
    return "\n".join([*lines, *([f"  PROBLEM: {found['problem']}"] if found["problem"] else [])])


def _line(entry: Json) -> str:
    moved = f"{entry['champion_before'] or '-'} -> {entry['champion_after'] or '-'}"
    source = " ".join(filter(None, (entry["approval"]["source"], entry["approval"]["id"])))
    reason = f": {entry['reason']}" if entry["reason"] else ""
    what = f"{entry['action']} {entry['version']}, champion {moved}"
    return f"{entry['number']}  {entry['time']}  {what}  by {entry['who']} ({source}){reason}"
