"""The pages in a real browser."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import pytest
from playwright.sync_api import expect

from modit.release.model_registry.mlflow_registry import MlflowRegistry
from tests.e2e.browser import page
from tests.e2e.service import serving
from tests.unit.release.gateworld import CHAMPION, CHAMPION_GAIN, evidence, split, verdict_of
from tests.unit.serve.bundles import Bundle, judged_run
from tests.unit.serve.proxy import PREFIX, nginx

pytestmark = pytest.mark.e2e
LISTS = ("Average of the seeds", "Best simple row", "Model")


@pytest.fixture(scope="module")
def service(tmp_path_factory, sampler_file, vote_file):
    folder = tmp_path_factory.mktemp("pages")
    bundle = Bundle(str(folder / "run"), folder / "made", sampler_file, ["drama"], simple_file=vote_file)
    uri = f"sqlite:///{folder}/mlflow.db"
    registry, given = MlflowRegistry(uri, f"file://{folder}/artifacts"), bundle.submission("drama")
    registry.register(given)
    small = evidence(champion=CHAMPION, pattern_holdout=split(True, half=0.005, **{CHAMPION_GAIN: 0.003}))
    run, verdict = judged_run(folder / "judged", verdict_of(small))
    digests = given.digests | {"bundle": "another", "verdict": verdict}
    registry.register(replace(given, run_uri=run, digests=digests, verdict="FAIL"))
    with serving(folder / "log", "--registry", uri, "--alias", "challenger") as found:
        found.wait_for("/readyz")
        yield found


def test_a_person_opens_an_example_and_asks_with_its_seeds_by_keyboard_alone(service):
    with page() as browser:
        browser.goto(service.url)
        assert browser.title().startswith("Explore")
        browser.get_by_role("list", name="Worked examples").get_by_role("link").first.focus()
        browser.keyboard.press("Enter")
        browser.wait_for_url("**example=25**")
        for name in LISTS:
            expect(browser.get_by_role("region", name=name, exact=True).get_by_role("listitem")).to_have_count(3)
        browser.get_by_role("link", name="Ask the service with these seeds").focus()
        browser.keyboard.press("Enter")
        browser.wait_for_url("**seed=**")
        expect(browser.get_by_role("list", name="Seeds").get_by_role("listitem")).to_have_count(12)
        expect(browser.get_by_role("img", name="cosine")).to_have_count(1)


def test_a_person_searches_and_adds_seeds_by_keyboard_alone_and_without_a_script(service):
    with page(scripts=False) as browser:
        browser.goto(service.url)
        browser.get_by_label("Title contains").focus()
        browser.keyboard.type("item-1")
        browser.keyboard.press("Enter")
        for seeds in (1, 2):
            browser.get_by_role("list", name="Items with").get_by_role("link").first.focus()
            browser.keyboard.press("Enter")
            browser.wait_for_url(re.compile(f"(seed=.*){{{seeds}}}"))
        browser.get_by_text("Options", exact=True).focus()
        browser.keyboard.press("Enter")
        browser.get_by_role("spinbutton", name="Results").fill("6")
        browser.keyboard.press("Enter")
        browser.wait_for_url("**k=6**")
        for name in LISTS:
            expect(browser.get_by_role("region", name=name, exact=True).get_by_role("listitem")).to_have_count(6)
        expect(browser.get_by_role("list", name="Seeds").get_by_role("listitem")).to_have_count(2)
        browser.get_by_role("list", name="Seeds").get_by_role("link").first.click()
        expect(browser.get_by_role("list", name="Seeds").get_by_role("listitem")).to_have_count(1)


@pytest.mark.parametrize("path", ["", "/explore?example=25", "/explore?seed=item-1&q=item-2", "/releases"])
def test_headings_are_in_order_and_everything_that_acts_has_a_name(service, path):
    with page() as browser:
        browser.goto(service.url + path)
        levels = [int(each.evaluate("e => e.tagName[1]")) for each in browser.locator("h1, h2, h3, h4").all()]
        assert levels[0] == 1 and all(after <= before + 1 for before, after in pairwise(levels))
        for each in browser.locator("a, button, input:not([type=hidden]), select, summary").all():
            named = each.evaluate("e => e.textContent || e.ariaLabel || e.labels?.[0]?.textContent || ''")
            assert named.strip(), each.evaluate("e => e.outerHTML")


def test_an_item_that_is_pointed_at_is_lit_on_the_map(service):
    with page() as browser:
        browser.goto(f"{service.url}/explore?domain=drama&seed=item-1&seed=item-2")
        first = browser.get_by_role("region", name="Model").get_by_role("listitem").first
        first.hover()
        place = browser.locator(f'svg g[data-item="{first.get_attribute("data-item")}"]').first
        assert "lit" in place.get_attribute("class")


def test_a_reviewer_reads_why_a_version_was_rejected_and_opens_all_conditions_by_keyboard(service):
    with page() as browser:
        browser.goto(f"{service.url}/releases")
        reasons = browser.get_by_role("list", name="Why version 2 is rejected")
        assert "on pattern-holdout the gain over champion modit-drama/3 is +0.3 points" in reasons.inner_text()
        conditions = browser.get_by_text("serving: loads is as it should be")
        assert not conditions.is_visible()
        browser.get_by_text("All conditions of the gate on version 2").focus()
        browser.keyboard.press("Enter")
        assert conditions.is_visible()
        browser.set_viewport_size({"width": 360, "height": 700})
        assert browser.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("path", ["", "?example=25", "?domain=drama&seed=item-1"])
def test_a_narrow_screen_has_no_sideways_scroll(service, path):
    with page() as browser:
        browser.set_viewport_size({"width": 360, "height": 700})
        browser.goto(f"{service.url}/explore{path}")
        assert browser.evaluate("document.documentElement.scrollWidth") <= 360


def test_an_error_is_announced(service):
    with page() as browser:
        answer = browser.request.get(f"{service.url}/explore?domain=drama&seed=item-1&guidance=99")
        assert answer.status == 422 and 'role="alert"' in answer.text()


def test_behind_a_proxy_that_strips_a_prefix_a_person_keeps_style_forms_and_links(service, tmp_path):
    with nginx(tmp_path, service.url) as proxy, page() as browser:
        browser.goto(f"{proxy}{PREFIX}/")
        assert browser.url == f"{proxy}{PREFIX}/explore"
        assert browser.evaluate("getComputedStyle(document.querySelector('header')).display") == "flex"
        browser.get_by_role("list", name="Some items").get_by_role("link").first.click()
        browser.wait_for_url(f"{proxy}{PREFIX}/explore?**seed=**")
        assert browser.get_by_role("region", name="Model").get_by_role("listitem").count() == 10
        browser.get_by_role("link", name="Releases").click()
        browser.wait_for_url(f"{proxy}{PREFIX}/releases")
        assert browser.get_by_role("heading", name="drama").is_visible()
