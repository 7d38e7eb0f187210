"""The page *Releases* shows what a real registry has."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modit.release.model_registry.mlflow_registry import MlflowRegistry
from tests.unit.release.gateworld import CHAMPION, CHAMPION_GAIN, evidence, split, verdict_of
from tests.unit.serve.bundles import judged_run
from tests.unit.serve.conftest import running


@pytest.fixture(scope="module")
def page(bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("registry")
    uri = f"sqlite:///{folder}/mlflow.db"
    registry, given = MlflowRegistry(uri, f"file://{folder}/artifacts"), bundle.submission("drama")
    figures = {"item_holdout Joint@K": 0.25, "item_holdout Same@K": 0.5}
    registry.register(replace(given, metrics=figures))
    small = evidence(champion=CHAMPION, pattern_holdout=split(True, half=0.005, **{CHAMPION_GAIN: 0.003}))
    run, verdict = judged_run(folder / "judged", verdict_of(small))
    digests = given.digests | {"sampler": "another", "bundle": "another", "verdict": verdict}
    worse = {"item_holdout Joint@K": 0.125, "item_holdout Same@K": 0.75}
    failed = replace(given, metrics=worse, digests=digests, verdict="FAIL", held_back="<b>late</b>", run_uri=run)
    registry.register(failed)
    registry.register(replace(failed, digests=digests | {"bundle": "third", "verdict": "edited"}))
    with running(lambda: [bundle.named("drama")], registry=uri) as client:
        yield lambda **asked: client.get("/releases", params=asked)


def rows_of(text):
    """Each version with what stands below it, newest first."""
    return text.split("<tbody>")[1].split("</tbody>")[0].split("<tr><td>")[1:]


def test_a_version_says_in_the_words_of_its_verdict_why_it_was_rejected_and_every_condition(page):
    _, rejected, passed = rows_of(page().text)
    assert "<li>basis: champion modit-drama/3</li>" in rejected
    assert (
        "<li>not promoted: on pattern-holdout the gain over champion modit-drama/3 is +0.3 points, "
        "interval -0.2 to +0.8; needed: more than 1.5, and an interval above 0</li>"
    ) in rejected
    assert rejected.count("fails: ") == 1 and rejected.count("holds: ") > 10
    assert "<h3>quality</h3>" in rejected and "<h3>servability</h3>" in rejected
    assert "<li>It was judged.</li>" in passed and "fails: " not in passed


def test_a_verdict_that_is_not_the_registered_one_is_not_shown_and_the_page_says_so(page):
    edited, *_ = rows_of(page().text)
    assert "cannot be read" in edited and "registered with edited" in edited and "basis" not in edited


def test_versions_have_verdict_alias_and_figures_and_titles_are_escaped(page):
    shown = page()
    assert shown.status_code == 200
    _, rejected, passed = rows_of(shown.text)
    assert "rejected" in rejected and "&lt;b&gt;late&lt;/b&gt;" in rejected and "0.125" in rejected
    assert "passed" in passed and "challenger" in passed and "0.250" in passed
    assert "version 1: Joint@K 0.250, Same@K 0.500" in shown.text


def test_two_versions_are_compared_by_all_figures(page):
    table = page(domain="drama", version=[2, 1]).text.split('aria-label="Comparison"')[1]
    assert "item holdout Joint@K" in table and "-0.125" in table and "+0.25" in table


@pytest.mark.parametrize("asked", [{"version": [1]}, {"version": [1, 9]}, {"version": [1, 2], "domain": "x"}])
def test_anything_but_two_versions_of_a_domain_is_refused_on_the_page(page, asked):
    shown = page(**{"domain": "drama"} | asked)
    assert (
        shown.status_code == 422
        and "Tick exactly two versions of one domain" in shown.text
        and "challenger" in shown.text
    )


def test_a_registry_that_is_away_is_said_on_the_page_not_made_and_answers_go_on(bundle, tmp_path):
    with running(lambda: [bundle.named("drama")], registry=f"sqlite:///{tmp_path}/mlflow.db") as client:
        shown = client.get("/releases")
        assert shown.status_code == 503 and 'role="alert">The registry does not answer at the moment' in shown.text
        assert client.get("/explore").is_success and not list(tmp_path.iterdir())
