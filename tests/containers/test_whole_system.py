"""The whole system on one Docker host, as docs/how-to/run-on-one-host.md says: nights, reviews, a champion."""

from __future__ import annotations

import json
import re
import urllib.request

import pytest

from tests.containers.whole_system import running, wait_for
from tests.worlds import LENIENT, small_world

pytestmark = pytest.mark.containers


@pytest.fixture(scope="module")
def system(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("system")
    data = small_world(folder / "data" / "catalogue").parent
    for parent in (folder.parent, folder, data):
        parent.chmod(0o755)
    with running(images, data, folder) as started:
        yield started


@pytest.fixture(scope="module")
def airflow(system):
    return system.airflow()


@pytest.fixture(scope="module")
def night(airflow):
    """A night that has come to its reviews."""
    run = airflow.start("nightly_retrain", preset="tiny", run="one", overrides=LENIENT)
    run.wait_for_reviews()
    return run


@pytest.fixture(scope="module")
def promoted(night):
    """The night after the answers to its reviews: one approved, one rejected."""
    assert night.answer(0, "Approve") == 200 and night.answer(1, "Reject") == 200
    night.wait_for(lambda: night.over)
    assert night.state == "success", night.tasks
    return night


def releases(system, domain):
    """What `modit releases` says of a domain, and its log in short."""
    found = json.loads(system.output("mlflow", *RELEASES, "--domain", domain))[0]
    return found, [(entry["action"], entry["version"], entry["who"]) for entry in found["entries"]]


def answer_of(system, domain, version):
    """An answer of the service, once a version answers for the domain."""

    def answers():
        there = system.ask("SERVE_PORT", "/readyz")["releases"].get(domain, {})
        if there.get("version") != version:
            raise ValueError(there)

    wait_for(answers, 120)
    body = {"domain": domain, "seeds": {"item_ids": ["item-00000001", "item-00000002"]}, "k": 5}
    return system.ask("SERVE_PORT", "/v1/retrieve", body, token=system.settings["MODIT_API_KEYS"])


def by_hand(airflow, version, action):
    """The DAG `promotion_review` with an approval."""
    run = airflow.start("promotion_review", version=version, action=action, reason="to see that it works")
    run.wait_for_reviews()
    assert run.answer(0, "Approve") == 200
    run.wait_for(lambda: run.over)
    return run.state


def test_a_night_ends_in_registered_versions_that_wait_for_a_review(system, night):
    found = system.ask("MLFLOW_PORT", "/api/2.0/mlflow/registered-models/search")["registered_models"]
    assert {model["name"] for model in found} == {"modit-popular", "modit-quality"}
    versions = [version for model in found for version in model["latest_versions"]]
    assert all(version["source"].endswith("sampler.onnx") for version in versions)
    assert releases(system, "popular")[0]["champion"] is None


def test_what_a_step_wrote_lies_in_the_object_store_and_its_features_in_redis(system, night):
    assert "modit/runs/one/verdict/manifest.json" in system.output("mlflow", *LIST, "modit/runs/one/*/manifest.json")
    assert int(system.output("redis", "redis-cli", "dbsize").split()[-1]) > 1000


def test_nothing_of_modit_runs_as_root_or_writes_to_its_root_file_system(system, night):
    for service in ("airflow", "scheduler", "dag-processor", "triggerer", "mlflow", "serve"):
        assert system.output(service, "id", "-u").strip() == "10001", service
        assert system.compose("exec", "-T", service, "touch", "/app/x", check=False).returncode, service


def test_the_links_of_a_review_open(system, night):
    links = re.findall(r"\]\((http[^)]+)\)", night.review(0)["body"])
    assert [link.partition("/#/")[2] or link.rpartition("/")[2] for link in links] == [
        "models/modit-popular/versions/1",
        "releases#popular",
    ]
    for link in links:
        key = {"Authorization": f"Bearer {system.settings['MODIT_API_KEYS']}"}
        with urllib.request.urlopen(urllib.request.Request(link, headers=key), timeout=30) as page:
            assert page.headers.get_content_type() == "text/html", link


def test_an_approval_makes_a_champion_that_answers_and_a_rejection_does_not(system, promoted):
    found, log = releases(system, "popular")
    assert (found["champion"], found["problem"], log) == (1, None, [("approve", 1, "admin")])
    found, log = releases(system, "quality")
    assert (found["champion"], found["problem"], log) == (None, None, [("reject", 1, "admin")])
    answer = answer_of(system, "popular", 1)
    assert len(answer["items"]) == 5 and set(system.ask("SERVE_PORT", "/readyz")["releases"]) == {"popular"}


def test_the_log_lies_in_the_object_store_and_the_aliases_in_postgresql(system, promoted):
    assert system.output("mlflow", *LIST, "modit/runs/.releases/popular/*.json").split() == [
        "modit/runs/.releases/popular/00000001.json"
    ]
    rows = system.output("postgres", "psql", "-d", "mlflow", "-At", "-c", ALIASES).split()
    assert "modit-popular|champion|1" in rows


def test_the_next_night_is_judged_against_the_champion_and_a_person_promotes_and_rolls_back(system, promoted, airflow):
    harsh = LENIENT | {"gate.noise_floor": 0.9}
    second = airflow.start("nightly_retrain", preset="tiny", run="two", domains=["popular"], seed=1, overrides=harsh)
    second.wait_for(lambda: second.over)
    assert (second.state, second.of("release.review")) == ("success", []), second.tasks
    verdict = json.loads(system.output("mlflow", *READ, "modit/runs/two/verdict/verdict.json"))["domains"]["popular"]
    assert (verdict["status"], int(verdict["champion"]["version"])) == ("FAIL", 1)
    assert by_hand(airflow, "modit-popular/2", "override") == "success"
    answer_of(system, "popular", 2)
    assert by_hand(airflow, "modit-popular/1", "roll back") == "success"
    answer_of(system, "popular", 1)
    found, log = releases(system, "popular")
    assert [action for action, _, _ in log] == ["approve", "override", "rollback"]
    assert (found["champion"], found["previous"], found["problem"]) == (1, None, None)


def test_prometheus_sees_the_run_and_the_service(system, promoted):
    def asked(query):
        return system.ask("PROMETHEUS_PORT", f"/api/v1/query?query={query}")["data"]["result"]

    def seen():
        found = {each["metric"]["job"]: each["value"][1] for each in asked("up")}
        if {found.get("modit-exporter"), found.get("modit-serve")} != {"1"} or not asked("modit_verdict"):
            raise ValueError(found)

    wait_for(seen, 120)


RELEASES = ("python", "-m", "modit.cli", "releases", "--registry", "http://127.0.0.1:5000", "--json")
LIST = ("python", "-c", "import s3fs, sys; print(*s3fs.S3FileSystem().glob(sys.argv[1]), sep='\\n')")
READ = ("python", "-c", "import s3fs, sys; print(s3fs.S3FileSystem().cat(sys.argv[1]).decode())")
ALIASES = "select name, alias, version from registered_model_aliases"
