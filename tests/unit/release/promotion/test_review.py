"""What a reviewer is shown: the versions that may be promoted, with the verdict that they were registered with."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from modit.cli import main
from modit.core.artifacts import ArtifactStore, Manifest, digest_of_files, list_files
from modit.core.errors import ArtifactError, ConfigError
from modit.core.storage import Storage
from modit.release.promotion.review import review_of, reviews_of_run
from tests.unit.serve.bundles import judged_splits

REASON = "item_holdout: HPPO beats average pooling."
VERDICT = {
    "status": "PASS",
    "domains": {
        name: {
            "status": status,
            "basis": "no champion: absolute thresholds",
            "reasons": [REASON],
            "figures": {"item_holdout Joint@K": 0.41},
            "splits": judged_splits(),
        }
        for name, status in (("popular", "PASS"), ("quality", "FAIL"), ("safety", "PASS"))
    },
}
TEXT = json.dumps(VERDICT)
DIGEST = hashlib.sha256(TEXT.encode()).hexdigest()
OVERRIDDEN = {"gate.noise_floor": 0, "servability.p99_ms": 9}


def write(store: ArtifactStore, folder: Path, name: str, file: str, text: str, domain: str | None = None) -> None:
    folder = folder / f"{name}-{domain}"
    folder.mkdir(parents=True)
    (folder / file).write_text(text)
    files = list_files(folder)
    store.write(folder, Manifest(name, domain, files, digest_of_files(files), {}, "step", "key", {}))


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path, TEXT)


def make_run(tmp_path, text):
    store, folder = ArtifactStore(Storage(str(tmp_path / "run")), tmp_path / "cache"), tmp_path / "making"
    entry = {
        "version": 3,
        "status": "passed",
        "held_back": None,
        "digests": {"verdict": hashlib.sha256(text.encode()).hexdigest()},
    }
    registered = {
        "popular": entry | {"model": "modit-popular"},
        "quality": entry | {"model": "modit-quality", "status": "rejected"},
        "safety": entry | {"model": "modit-safety", "held_back": "a backfill never promotes"},
        "small": {"status": "skipped", "reasons": []},
    }
    write(store, folder, "verdict", "verdict.json", text)
    write(store, folder, "report", "report.html", "<p>report</p>")
    write(store, folder, "registration", "registration.json", json.dumps(registered))
    return tmp_path / "run"


def test_only_versions_that_passed_and_are_not_held_back_are_reviewed(run):
    (review,) = reviews_of_run(str(run))
    assert (review.version, review.domain, review.verdict, review.run) == (
        "modit-popular/3",
        "popular",
        DIGEST,
        str(run),
    )
    assert review.subject == f"modit-popular/3: PASS (verdict {DIGEST[:12]})"


def test_a_reviewer_sees_the_verdict_and_where_the_report_is(run):
    (review,) = reviews_of_run(str(run))
    for shown in ("item-holdout: Joint@K 0.520", "no champion", DIGEST):
        assert shown in review.body
    assert f"report: {run}/report/report.html" in review.body and "quality" not in review.body


def test_a_reviewer_sees_which_thresholds_a_run_set_for_itself(tmp_path, run):
    (none,) = reviews_of_run(str(run))
    assert none.thresholds == "" and "This run set its own thresholds" not in none.body
    (review,) = reviews_of_run(str(make_run(tmp_path / "lowered", json.dumps(VERDICT | {"overridden": OVERRIDDEN}))))
    assert review.thresholds == "gate.noise_floor = 0, servability.p99_ms = 9"
    assert f"**This run set its own thresholds**: {review.thresholds}." in review.body


def test_a_verdict_that_is_another_by_now_is_not_shown(run):
    with pytest.raises(ConfigError, match="was registered with the verdict 000.* by now"):
        review_of(str(run), "modit-popular/3", "popular", "0" * 64)


def test_a_verdict_that_was_edited_is_not_shown(run):
    (run / "verdict" / "verdict.json").write_text(TEXT.replace("FAIL", "PASS"))
    with pytest.raises(ArtifactError, match="damaged"):
        reviews_of_run(str(run))


def test_the_command_shows_it_to_people_and_ends_with_a_line_for_programs(run, capsys, tmp_path):
    assert main(["review", "--run", str(run), "--result", str(tmp_path / "result.json")]) == 0
    *shown, last = capsys.readouterr().out.splitlines()
    assert f"modit-popular/3: PASS (verdict {DIGEST[:12]})" in shown
    assert (
        json.loads(last)
        == json.loads((tmp_path / "result.json").read_text())
        == [asdict(review) for review in reviews_of_run(str(run))]
    )


def test_the_command_wants_to_know_what_to_review(capsys):
    assert main(["review"]) == 1
    assert "Give MODEL_VERSION, or --run" in capsys.readouterr().err
