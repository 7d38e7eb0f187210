"""The DAGs under one `airflow standalone`, asked over REST: a night, its reviews, reviews by hand, a new domain."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modit.core.artifacts import MANIFEST
from modit.release.model_registry.registry_access import existing_registry, registry_uri
from modit.release.model_registry.release_state import read_release_state
from modit.release.verdict import read_verdict, report_pages
from tests.airflow_rest import Airflow, Run
from tests.e2e.standalone import Server
from tests.inbox import Inbox, open_inbox
from tests.worlds import LENIENT, small_world

pytestmark = pytest.mark.e2e

DOMAINS = ("popular", "quality")
NOBODY = "MODIT_REVIEW_HOURS=0.066"


@pytest.fixture(scope="module")
def inbox():
    with open_inbox() as inbox:
        yield inbox


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def server(tmp_path_factory, runs, inbox):
    # A deadline of nine seconds, which every run misses; a review that nobody answers is over after four minutes.
    settings = {"MODIT_DEADLINE_HOURS": "0.0025", "MODIT_REVIEW": "required", "MODIT_REVIEW_HOURS": "0.066"}
    reviewers = {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,bob:admin", "MODIT_REVIEWERS": "admin"}
    more = {**inbox.environment, **settings, **reviewers, "MODIT_SERVICE_URL": "http://serve"}
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
    found = read_release_state(existing_registry(registry_uri(str(runs / "night"))), domain)
    log = [(entry.action, entry.version, entry.who) for entry in found.entries]
    return found.champion.version if found.champion else None, log


def answered(run: Run, option: str) -> str:
    """State of a run with one review, after the answer."""
    run.wait_for_reviews()
    assert run.answer(0, option) == 200
    run.wait_for(lambda: run.over)
    return run.state


def told_late(inbox: Inbox, run: Run) -> int:
    """How often somebody was told that a run has missed its deadline."""
    late = [each["message"] for each in inbox.notices if each["title"] == f"{run.dag}: deadline missed"]
    return len([message for message in late if f"run {run.name}," in message])


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


def test_only_a_reviewer_may_answer(night, server):
    bob = Airflow(server.url)
    bob.sign_in(server.passwords()["bob"], "bob")
    of_bob = Run(bob, night.dag, night.name)
    assert of_bob.review(0)["subject"] == night.review(0)["subject"]
    assert [of_bob.answer(0, option) for option in ("Approve", "Reject")] == [403, 403]


def test_a_night_ends_in_a_review_of_each_version_and_only_an_answer_moves_a_champion(night, runs, inbox):
    verdict = read_verdict(str(runs / "night"))
    assert [verdict["domains"][domain]["status"] for domain in DOMAINS] == ["PASS", "PASS"]
    registered = json.loads((runs / "night" / "registration" / "registration.json").read_text())
    for index, domain in enumerate(DOMAINS):
        page, digest = night.review(index), registered[domain]["digests"]["verdict"]
        assert page["subject"] == f"approve modit-{domain}/1: PASS (verdict {digest[:12]})?"
        assert digest in page["body"] and report_pages(str(runs / "night"))[0] in page["body"]
        assert "points over Average pooling" in page["body"]
        assert f"- [releases](http://serve/releases#{domain})" in page["body"] and "MLflow" not in page["body"]
        assert standing(runs, domain) == (None, [])
    assert night.answer(0, "Approve") == 200
    # The other one's time passes.
    night.wait_for(lambda: night.over)
    assert night.answer(1, "Approve") == 409
    assert (night.state, night.of("release.carry_out")) == ("success", ["success", "success"])
    assert standing(runs, "popular") == (1, [("approve", 1, "admin")])
    assert standing(runs, "quality") == (None, [("reject", 1, NOBODY)])
    told = [each["title"] for each in inbox.notices if "modit-popular/1" in each["title"]]
    assert told == [f"nightly_retrain: modit-popular/1 {what}" for what in ("waits for a review", "approved by admin")]
    unanswered = "nightly_retrain: modit-quality/1 rejected: no answer within 0.066 h"
    assert unanswered in [each["title"] for each in inbox.notices]
    assert told_late(inbox, night) == 1


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
    unwanted = server.start("promotion_review", **fields)
    assert answered(unwanted, "Reject") == "success"
    again = server.start("promotion_review", **fields)
    wanted = server.start("promotion_review", **fields, action="override", reason="looked at by hand")
    champion = {"run_root": str(runs), "version": "modit-popular/1", "action": "reject", "reason": "x"}
    again.wait_for_reviews()
    assert answered(wanted, "Approve") == "success"
    assert answered(again, "Approve") == "failed"
    assert answered(server.start("promotion_review", **champion), "Approve") == "failed"
    assert standing(runs, "quality") == (1, [("reject", 1, NOBODY), ("reject", 1, "admin"), ("override", 1, "admin")])
    assert standing(runs, "popular") == (1, [("approve", 1, "admin")])
    marked = server.start("promotion_review", **fields)
    marked.wait_for_reviews()
    assert marked.mark_review(0, "success") == 200
    marked.wait_for(lambda: marked.over)
    assert marked.of("release.carry_out") == ["failed"]
    assert any(marked.name in each["message"] and "there is no order" in each["message"] for each in inbox.notices)


def test_a_domain_is_added_within_its_budget_and_nothing_else_changes(server, runs, night, inbox):
    fields = {"domain": "added", "scorer": "attr_quality", "start_from": "night", "run_root": str(runs), "run": "added"}
    before, champions = digests(runs / "night"), [standing(runs, domain) for domain in DOMAINS]
    poor = server.start("new_domain", **fields | {"scorer": "our_scorer:score"}, label_budget=10)
    poor.wait_for(lambda: poor.over)
    assert poor.state == "failed" and poor.tasks["plan", -1] == "failed" and not (runs / "added").exists()
    run: Run = server.start("new_domain", **fields, label_budget=10_000)
    assert answered(run, "Approve") == "success" and standing(runs, "added") == (1, [("approve", 1, "admin")])
    assert told_late(inbox, run) == 1 and digests(runs / "night") == before
    assert [standing(runs, domain) for domain in DOMAINS] == champions
    added = digests(runs / "added")
    for name in ("index", "pretrained", "continued"):
        assert added[f"{name}/{MANIFEST}"] == before[f"{name}/{MANIFEST}"]
