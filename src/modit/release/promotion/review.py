"""What a reviewer of a model version is shown: the verdict, what would change, and where the report is.

It judges nothing, and moves nothing.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modit.core.artifacts import ArtifactStore
from modit.core.errors import ConfigError
from modit.core.storage import Storage, sha256_of_file
from modit.core.workspace import cache_folder
from modit.release.verdict import VERDICT_FILE, data_docs, report_pages, verdict_table

Json = dict[str, Any]

REGISTRATION, REGISTRATION_FILE = "registration", "registration.json"
# What `check_servability` says of the lists of frozen queries, for a reviewer.
CHANGE, CHANGE_TEXT = "change", "change.md"
PASSED = "passed"


@dataclass(frozen=True)
class Review:
    """A model version that somebody may promote, and what they should see before.

    Attributes:
        version: such as `modit-popular/3`.
        domain: whose sampler it is.
        run: address of the run that registered it.
        verdict: sha256 of the `verdict.json` that is shown; an approval is of this one and no other.
        subject: a line, which has the verdict's digest, too.
        body: Markdown.
        thresholds: that the run set for itself, by its overrides, such as `gate.noise_floor = 0`; or empty.
    """

    version: str
    domain: str
    run: str
    verdict: str
    subject: str
    body: str
    thresholds: str = ""

    def as_json(self) -> Json:
        """For orchestrators: some kilobytes of text, no data."""
        return asdict(self)


def reviews_of_run(run: str) -> list[Review]:
    """Those versions of a run that may be promoted: they passed, and nothing holds them back.

    Args:
        run: its address.

    Raises:
        ArtifactError: the run has registered nothing, or an artifact is damaged.
    """
    store = ArtifactStore(Storage(run), cache_folder())
    registered = store.read_json(REGISTRATION, REGISTRATION_FILE)
    return [
        review_of(run, f"{entry['model']}/{entry['version']}", domain, entry["digests"]["verdict"])
        for domain, entry in sorted(registered.items())
        if entry["status"] == PASSED and not entry["held_back"]
    ]


def review_of(run: str, version: str, domain: str, verdict: str) -> Review:
    """The review of a version.

    Args:
        run: address of the run that registered it.
        version: such as `modit-popular/3`.
        domain: of the model.
        verdict: sha256 of the `verdict.json` that it was registered with.

    Raises:
        ArtifactError: an artifact is missing or damaged.
        ConfigError: the run has another verdict by now.
    """
    store = ArtifactStore(Storage(run), cache_folder())
    folder = store.read("verdict")
    if (found := sha256_of_file(folder / VERDICT_FILE)) != verdict:
        raise ConfigError(f"{version} was registered with the verdict {verdict}; that of {run} is {found} by now")
    judged = store.read_json("verdict", VERDICT_FILE)
    status = judged["domains"][domain]["status"]
    subject = f"{version}: {status} (verdict {verdict[:12]})"
    body = _body(store, version, domain, judged, verdict)
    return Review(version, domain, store.run.uri, verdict, subject, body, _thresholds(judged))


def _body(store: ArtifactStore, version: str, domain: str, judged: Json, verdict: str) -> str:
    table = verdict_table({**judged, "domains": {domain: judged["domains"][domain]}})
    basis = judged["domains"][domain].get("basis") or judged["basis"]
    run, thresholds = store.run.uri, _thresholds(judged)
    parts = [
        f"**{version}**, {basis}.",
        *([f"**This run set what it is held to itself**: {thresholds}."] if thresholds else []),
        f"```\n{table}\n```",
        *_change(store, domain),
        "\n".join(
            [
                *(f"- report: {page}" for page in report_pages(run)),
                *(f"- data docs: {page}" for page in data_docs(run)),
                f"- run: {run}",
                f"- verdict: `{verdict}`",
            ]
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _thresholds(judged: Json) -> str:
    """From the verdict, whose digest is checked; run.json could be edited after it. Older verdicts do not say."""
    return ", ".join(f"{name} = {json.dumps(value)}" for name, value in judged.get("overridden", {}).items())


def _change(store: ArtifactStore, domain: str) -> list[str]:
    """What would change for callers, where the run has looked at it."""
    if store.find(CHANGE, domain) is None:
        return []
    return [(store.read(CHANGE, domain) / Path(CHANGE_TEXT)).read_text(encoding="utf-8").strip()]
