"""The releases follow the alias in a real registry; what fails leaves the old one answering."""

from __future__ import annotations

import json
import logging
import threading

import pytest

from modit.release.model_registry.mlflow_registry import MlflowRegistry
from modit.release.model_registry.model_version import domain_of
from modit.release.model_registry.release_log import APPROVE, OVERRIDE, ROLLBACK
from modit.release.model_registry.release_state import read_release_state
from modit.release.promotion.promotion import Order, carry_out
from modit.serve.releases import Releases, ask_registry
from tests.unit.serve.conftest import running, wait_until

ALIAS = "champion"


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('registry')}/mlflow.db"


@pytest.fixture(scope="module")
def registry(database):
    return MlflowRegistry(database, f"file://{database.removeprefix('sqlite:///')}.artifacts")


def promote(registry, registration):
    """The first by approval, later ones by override or, where they were the champion before, by rollback."""
    domain = domain_of(registration.model)
    entries = read_release_state(registry, domain).entries
    action = ROLLBACK if any(e.version == registration.version for e in entries) else OVERRIDE if entries else APPROVE
    verdict = registry.version(domain, registration.version).tags["verdict_digest"]
    carry_out(registry, Order(action, domain, "ann", registration.version, verdict, "a test"))


def test_a_service_waits_for_the_first_promotion_and_then_answers(database, registry, make_bundle):
    registered = registry.register(make_bundle(("late",)).submission("late"))
    assert registered.alias == "challenger"  # which is not what this service serves
    with running(ask_registry(database, ALIAS), ready=False, domains=("late",)) as client:
        wait_until(lambda: "late" in client.get("/readyz").json()["problems"])
        answer = client.get("/readyz")
        assert answer.status_code == 503 and not answer.json()["ready"]
        assert answer.json()["problems"] == {"late": "no version of modit-late has the alias 'champion'"}
        assert client.get("/healthz").is_success
        asked = {"domain": "late", "seeds": {"item_ids": ["item-1"]}}
        early = client.post("/v1/retrieve", json=asked)
        assert early.status_code == 503 and int(early.headers["retry-after"]) >= 1
        assert client.post("/v1/retrieve", json=asked | {"domain": "drama"}).status_code == 404
        promote(registry, registered)
        wait_until(lambda: client.get("/readyz").is_success)
        assert client.post("/v1/retrieve", json=asked).json()["version"] == registered.version


def test_no_request_fails_while_the_champion_moves_to_and_fro(database, registry, make_bundle):
    bundles = [make_bundle(("swap",), seed, champion=champion) for seed, champion in ((0, None), (1, 1))]
    versions = [registry.register(bundle.submission("swap")) for bundle in bundles]
    promote(registry, versions[0])
    answers, stop = [], threading.Event()
    with running(ask_registry(database, ALIAS), domains=("swap",)) as client:

        def ask():
            while not stop.is_set():
                answers.append(client.post("/v1/retrieve", json={"domain": "swap", "seeds": {"item_ids": ["item-1"]}}))

        askers = [threading.Thread(target=ask) for _ in range(2)]
        for asker in askers:
            asker.start()
        for version in (versions[1], versions[0], versions[1]):
            promote(registry, version)
            wait_until(lambda: answers and answers[-1].json()["version"] == version.version)  # noqa: B023
        stop.set()
        for asker in askers:
            asker.join()
    assert {answer.status_code for answer in answers} == {200}
    digests = {(answer.json()["version"], answer.json()["index_digest"]) for answer in answers}
    assert digests == {(v.version, b.index_digest) for v, b in zip(versions, bundles, strict=True)}


@pytest.fixture
def moving(make_bundle):
    """Releases of a registry that names what `named` holds."""
    named = []
    return Releases(lambda: list(named), ALIAS), named


@pytest.fixture
def attempts(gained):
    """Counts the attempts to load since the start of the test: those that loaded, and those that failed."""
    return lambda: tuple(gained("modit_reloads_total", result=result) for result in ("loaded", "failed"))


def test_a_release_that_cannot_be_loaded_leaves_the_old_one_and_is_said_once(moving, attempts, bundle, caplog):
    releases, named = moving
    named[:] = [bundle.named("drama", 1)]
    releases.refresh()
    old = releases.state.releases["drama"]
    named[:] = [bundle.named("drama", 2, bundle_digest="5" * 64)]
    with caplog.at_level(logging.WARNING):
        releases.refresh()
        releases.refresh()
    assert releases.state.releases["drama"] is old and releases.state.ready
    assert "modit-drama version 2 was registered with 555" in releases.state.problems["drama"]
    assert [record.levelname for record in caplog.records].count("WARNING") == 1 and attempts() == (1, 2)
    named[:] = [bundle.named("drama", 3)]
    releases.refresh()
    assert releases.state.releases["drama"].source.version == 3 and not releases.state.problems


def test_a_version_that_is_loaded_is_not_loaded_again(moving, attempts, bundle):
    releases, named = moving
    named[:] = [bundle.named("drama", 1)]
    for _ in range(3):
        releases.refresh()
    assert attempts() == (1, 0)


def test_a_registry_that_is_away_and_an_alias_that_is_taken_away_stop_nothing(bundle, caplog):
    answers = [[bundle.named("drama")], ConnectionError("no route\nto the registry"), []]

    def ask():
        if isinstance(answers[0], Exception):
            raise answers.pop(0)
        return answers.pop(0)

    releases = Releases(ask, ALIAS)
    assert not releases.state.ready and releases.state.wanted is None
    for problems in (
        {},
        {"registry": "ConnectionError: no route"},
        {"drama": "no version of modit-drama has the alias 'champion'"},
    ):
        releases.refresh()
        assert releases.state.problems == problems
        assert releases.state.ready and "drama" in releases.state.releases


def test_without_domains_a_registry_without_the_alias_is_not_ready_and_says_so(moving):
    releases, _ = moving
    releases.refresh()
    assert releases.state.problems == {"registry": "no model has a version with the alias 'champion'"}
    assert not releases.state.ready


def test_a_registry_that_is_missing_or_empty_is_not_made(tmp_path):
    path = tmp_path / "mlflow.db"
    releases = Releases(ask_registry(f"sqlite:///{path}", ALIAS), ALIAS)
    releases.refresh()
    assert "unable to open database file" in releases.state.problems["registry"] and not path.exists()
    path.touch()  # as while another process makes it
    releases.refresh()
    assert "no such table" in releases.state.problems["registry"] and path.stat().st_size == 0


def test_a_domain_that_comes_later_and_cannot_be_loaded_does_not_take_the_others_with_it(moving, bundle):
    releases, named = moving
    named[:] = [bundle.named("drama", 1)]
    releases.refresh()
    named.append(bundle.named("crime", 1, index_digest="6" * 64))
    releases.refresh()
    assert releases.state.ready and set(releases.state.problems) == {"crime"}
    assert releases.state.wanted == ("crime", "drama")


def test_each_domain_answers_as_soon_as_it_is_loaded(moving, bundle):
    releases, named = moving
    named[:] = [bundle.named("crime", 1, index_digest="6" * 64), bundle.named("drama", 1)]
    releases.refresh()
    assert set(releases.state.releases) == {"drama"} and not releases.state.ready
    assert "index_digest of" in json.dumps(dict(releases.state.problems))
