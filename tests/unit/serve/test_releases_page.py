"""The page *Releases* shows what a real registry has."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modit.release.registry.registry import MlflowRegistry
from tests.unit.serve.conftest import running


@pytest.fixture(scope="module")
def page(bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("registry")
    uri = f"sqlite:///{folder}/mlflow.db"
    registry, given = MlflowRegistry(uri, f"file://{folder}/artifacts"), bundle.submission("drama")
    figures = {"item_holdout Joint@K": 0.25, "item_holdout Same@K": 0.5}
    registry.register(replace(given, metrics=figures))
    digests = given.digests | {"sampler": "another", "bundle": "another"}
    worse = {"item_holdout Joint@K": 0.125, "item_holdout Same@K": 0.75}
    registry.register(replace(given, metrics=worse, digests=digests, verdict="FAIL", held_back="<b>late</b>"))
    with running(lambda: [bundle.named("drama")], registry=uri) as client:
        yield lambda **asked: client.get("/releases", params=asked)


def test_versions_have_verdict_alias_and_figures_and_titles_are_escaped(page):
    shown = page()
    assert shown.status_code == 200
    rows = shown.text.split("<tbody>")[1].split("</tbody>")[0].split("</tr>")
    assert "rejected" in rows[0] and "&lt;b&gt;late&lt;/b&gt;" in rows[0] and "0.125" in rows[0]
    assert "passed" in rows[1] and "challenger" in rows[1] and "0.250" in rows[1]
    assert "version 1: Joint@K 0.250, Same@K 0.500" in shown.text


def test_two_versions_are_compared_by_all_figures(page):
    table = page(domain="drama", version=[2, 1]).text.split('aria-label="Comparison"')[1]
    assert "item holdout Joint@K" in table and "-0.125" in table and "+0.25" in table


@pytest.mark.parametrize("asked", [{"version": [1]}, {"version": [1, 9]}, {"version": [1, 2], "domain": "x"}])
def test_anything_but_two_versions_of_a_domain_is_refused_on_the_page(page, asked):
    shown = page(**{"domain": "drama"} | asked)
    assert shown.status_code == 422 and "two versions of one domain" in shown.text and "challenger" in shown.text


def test_a_registry_that_is_away_is_said_on_the_page_not_made_and_answers_go_on(bundle, tmp_path):
    with running(lambda: [bundle.named("drama")], registry=f"sqlite:///{tmp_path}/mlflow.db") as client:
        shown = client.get("/releases")
        assert shown.status_code == 503 and 'role="alert"><strong>registry</strong>' in shown.text
        assert client.get("/explore").is_success and not list(tmp_path.iterdir())
