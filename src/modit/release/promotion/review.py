"""What a reviewer of a model version sees: the verdict, and where the report is.

It judges nothing, and moves nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from modit.core.artifacts import ArtifactStore
from modit.core.errors import ConfigError
from modit.core.storage import Storage, sha256_of_file
from modit.core.workspace import cache_folder
from modit.release.kinds import KINDS, OF_SEEDS, kind_of
from modit.release.model_registry.model_version import PASSED
from modit.release.verdict import VERDICT_FILE, data_docs, report_pages, verdict_text

REGISTRATION_FILE = "registration.json"


@dataclass(frozen=True)
class Review:
    """A model version that somebody may promote, and what they should see before: a line, and a page in Markdown.

    Attributes:
        version: Such as `modit-popular/3`.
        run: Address of the run that registered it.
        verdict: sha256 of the `verdict.json` that is shown; an approval is valid for this one only.
        thresholds: The run's own overrides of what it is held to, such as `gate.noise_floor = 0`; or empty.
    """

    version: str
    domain: str
    run: str
    verdict: str
    subject: str
    body: str
    thresholds: str = ""


def reviews_of_run(run: str) -> list[Review]:
    """The reviews of a run's versions that may be promoted: they passed, and are not held back.

    Raises:
        ArtifactError: The run has registered nothing, or an artifact is damaged.
    """
    store = ArtifactStore(Storage(run), cache_folder())
    kind = next((each for each in KINDS if store.find(each.registration)), OF_SEEDS)
    registered = store.read_json(kind.registration, REGISTRATION_FILE)
    return [
        review_of(run, f"{entry['model']}/{entry['version']}", domain, entry["digests"]["verdict"])
        for domain, entry in sorted(registered.items())
        if entry["status"] == PASSED and not entry["held_back"]
    ]


def review_of(run: str, version: str, domain: str, verdict: str) -> Review:
    """The review of a version of a domain that was registered by a run, with the verdict of this sha256.

    Raises:
        ArtifactError: An artifact is missing or damaged.
        ConfigError: The run has another verdict by now.
    """
    store = ArtifactStore(Storage(run), cache_folder())
    folder = store.read(kind_of(domain).verdict)
    if (found := sha256_of_file(folder / VERDICT_FILE)) != verdict:
        raise ConfigError(f"{version} was registered with the verdict {verdict}; that of {run} is {found} by now")
    judged = json.loads((folder / VERDICT_FILE).read_text(encoding="utf-8"))
    subject = f"{version}: {judged['domains'][domain]['status']} (verdict {verdict[:12]})"
    # From the verdict, whose digest is checked; run.json could be edited after it.
    overridden = judged.get("overridden", {}).items()
    thresholds = ", ".join(f"{name} = {json.dumps(value)}" for name, value in overridden)
    alone = {**judged, "domains": {domain: judged["domains"][domain]}}
    parts = [
        f"**{version}**",
        *([f"**This run set its own thresholds**: {thresholds}."] if thresholds else []),
        f"```\n{verdict_text(alone)}\n```",
        "\n".join(
            [
                *(f"- report: {page}" for page in report_pages(run)),
                *(f"- data docs: {page}" for page in data_docs(run)),
                f"- run: {run}",
                f"- verdict: `{verdict}`",
            ]
        ),
    ]
    return Review(version, domain, store.run.uri, verdict, subject, "\n\n".join(parts) + "\n", thresholds)
