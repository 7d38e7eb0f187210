"""The DAGs under one `airflow standalone`, asked over REST: a night, its reviews, reviews by hand, a new domain."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modit.core.artifacts import MANIFEST
from modit.core.verdict import read_verdict, report_pages
from modit.release.registry.address import registry_uri
from modit.release.registry.opening import existing_registry
from modit.release.registry.standing import standing_of
from tests.e2e.standalone import Run, Server
from tests.inbox import open_inbox
from tests.worlds import small_world

pytestmark = pytest.mark.e2e

# What a model of this size needs to pass.
LENIENT = {"gate.item_same_floor": 0.01, "gate.pattern_same_floor": 0.01, "gate.classical_splits": []}
DOMAINS = ("popular", "quality")


@pytest.fixture(scope="module")
def inbox():
    with open_inbox() as inbox:
        yield inbox


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def server(tmp_path_factory, runs, inbox):
    # A deadline of nine seconds, which every run misses.
    more = {**inbox.environment, "MODIT_DEADLINE_HOURS": "0.0025", "MODIT_REVIEW": "required"}
    server = Server(tmp_path_factory.mktemp("airflow"), runs, more)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def night(server, runs, tmp_path_factory):
    """A night that has come to its reviews."""
    world = small_world(tmp_path_factory.mktemp("demo") / "world")
    fields = {"catalogue": str(world), "preset": "tiny", "overrides": LENIENT, "run_root": str(runs), "run": "night"}
    run = server.start("nightly_retrain", **fields)
    run.wait_for_reviews()
    return run


def standing(runs: Path, domain: str) -> tuple[int | None, list[tuple[str, int, str]]]:
    """Champion and log of a domain, which agree."""
    found = standing_of(existing_registry(registry_uri(str(runs / "night"))), domain)
    log = [(entry.action, entry.version, entry.who) for entry in found.entries]
    return found.champion.version if found.champion else None, log


def digests(run: Path) -> dict[str, str]:
    manifests = sorted(run.rglob(MANIFEST))
    return {str(path.relative_to(run)): json.loads(path.read_text())["digest"] for path in manifests}


@pytest.mark.parametrize(
    ("dag", "conf"),
    [
        ("nightly_retrain", {"preset": "huge"}),
        ("nightly_retrain", {"seed": -1}),
        ("nightly_retrain", {"domains": "one"}),
        ("nightly_retrain", {"catalogue": ""}),
        ("new_domain", {}),
        ("new_domain", {"domain": "New", "start_from": "night", "label_budget": 1}),
        ("new_domain", {"domain": "new", "start_from": "../night", "label_budget": 1}),
        ("new_domain", {"domain": "new", "start_from": "night", "label_budget": 0}),
        ("new_domain", {"domain": "new", "start_from": "night", "label_budget": 1, "scorer": "os.system('x')"}),
        ("promotion_review", {}),
        ("promotion_review", {"version": "modit-popular/latest"}),
        ("promotion_review", {"version": "modit-popular/1", "action": "delete"}),
    ],
)
def test_a_conf_that_breaks_the_schema_is_answered_with_400(server, dag, conf):
    status, answer = server.call("POST", f"/api/v2/dags/{dag}/dagRuns", {"logical_date": None, "conf": conf})
    assert status == 400, answer


def test_a_night_ends_in_a_review_of_each_version_and_only_an_approval_moves_a_champion(night, runs, inbox):
    verdict = read_verdict(str(runs / "night"))
    assert [verdict["domains"][domain]["status"] for domain in DOMAINS] == ["PASS", "PASS"]
    registered = json.loads((runs / "night" / "registration" / "registration.json").read_text())
    for index, domain in enumerate(DOMAINS):
        page, digest = night.review(index), registered[domain]["digests"]["verdict"]
        assert page["subject"] == f"approve modit-{domain}/1: PASS (verdict {digest[:12]})?"
        assert digest in page["body"] and report_pages(str(runs / "night"))[0] in page["body"]
        assert "gain over average" in page["body"]
        assert standing(runs, domain) == (None, [])
    assert night.answer(0, "Approve") == 200 and night.answer(1, "Reject") == 200
    assert night.answer(1, "Approve") == 409
    night.wait_for(lambda: night.over)
    assert night.state == "success"
    assert standing(runs, "popular") == (1, [("approve", 1, "admin")])
    assert standing(runs, "quality") == (None, [("reject", 1, "admin")])
    told = [each["title"] for each in inbox.notices if "modit-popular/1" in each["title"]]
    assert told == [f"nightly_retrain: modit-popular/1 {what}" for what in ("waits for a review", "approved by admin")]
    assert "nightly_retrain: modit-quality/1 rejected by admin" in [each["title"] for each in inbox.notices]
    late = [each["message"] for each in inbox.notices if each["title"] == "nightly_retrain: deadline missed"]
    assert len([message for message in late if f"run {night.name}," in message]) == 1


def test_an_approval_is_used_once_and_says_nothing_of_another_verdict(night, runs, server):
    before = standing(runs, "popular")
    night.clear(["release.carry_out", 0])
    night.wait_for(lambda: night.of("release.carry_out")[0] == "success" and night.over)
    assert standing(runs, "popular") == before
    # The next try of the review is of another verdict: Airflow's page would show the old one.
    path = f"{night.path}/taskInstances/prepare_reviews/xcomEntries/return_value"
    prepared = server.call("GET", path)[1]["value"]
    prepared[0] |= {"verdict": "0" * 64, "subject": "modit-popular/1: PASS (verdict 000000000000)"}
    assert server.call("PATCH", path, {"value": prepared, "map_index": -1})[0] == 200
    night.clear(["release.review", 0], ["release.carry_out", 0])
    night.wait_for(lambda: night.over and night.of("release.review")[0] != "success")
    assert (night.of("release.review")[0], night.of("release.carry_out")[0]) == ("failed", "upstream_failed")
    assert night.answer(0, "Approve") in (200, 409)
    assert standing(runs, "popular") == before


def test_a_version_is_reviewed_by_hand_and_what_must_not_be_is_refused(server, runs, night, inbox):
    fields = {"run_root": str(runs), "version": "modit-quality/1"}
    silent = server.start("promotion_review", **fields, action="override")
    silent.wait_for(lambda: silent.over)
    assert (silent.state, silent.of("release.review")) == ("failed", ["failed"])
    wanted = server.start("promotion_review", **fields, action="override", reason="looked at by hand")
    champion = server.start(
        "promotion_review", run_root=str(runs), version="modit-popular/1", action="reject", reason="x"
    )
    again = server.start("promotion_review", **fields)
    for run, option in ((wanted, "Approve"), (champion, "Approve")):
        run.wait_for_reviews()
        assert run.answer(0, option) == 200
        run.wait_for(lambda run=run: run.over)
    assert (wanted.state, champion.state) == ("success", "failed")
    assert standing(runs, "quality") == (1, [("reject", 1, "admin"), ("override", 1, "admin")])
    assert standing(runs, "popular") == (1, [("approve", 1, "admin")])
    marked = server.start("promotion_review", **fields)
    marked.wait_for_reviews()
    assert marked.mark_review(0, "success") == 200
    marked.wait_for(lambda: marked.over)
    assert marked.of("release.carry_out") == ["failed"]
    assert any(marked.name in each["message"] and "there is no order" in each["message"] for each in inbox.notices)
    again.wait_for_reviews()
    assert again.answer(0, "Approve") == 200
    again.wait_for(lambda: again.over)
    assert again.state == "failed" and standing(runs, "quality")[0] == 1


def test_a_domain_is_added_within_its_budget_and_nothing_else_changes(server, runs, night):
    fields = {"domain": "added", "scorer": "attr_quality", "start_from": "night", "run_root": str(runs), "run": "added"}
    before, champions = digests(runs / "night"), [standing(runs, domain) for domain in DOMAINS]
    dear = server.start("new_domain", **fields, label_budget=10)
    dear.wait_for(lambda: dear.over)
    assert dear.state == "failed" and dear.tasks["plan", -1] == "failed" and not (runs / "added").exists()
    run: Run = server.start("new_domain", **fields, label_budget=10_000)
    run.wait_for_reviews()
    assert run.answer(0, "Approve") == 200
    run.wait_for(lambda: run.over)
    assert run.state == "success" and standing(runs, "added") == (1, [("approve", 1, "admin")])
    assert digests(runs / "night") == before
    assert [standing(runs, domain) for domain in DOMAINS] == champions
    added = digests(runs / "added")
    for name in ("index", "pretrained", "continued"):
        assert added[f"{name}/{MANIFEST}"] == before[f"{name}/{MANIFEST}"]
