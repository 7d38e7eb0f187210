"""A domain that has only verdicts is answered for, over the catalogue and index of the others."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modit.cli import main
from modit.client import Client, table
from modit.core.errors import ConfigError
from modit.inference.retrieval import Query, generate_queries
from modit.release.bundle.release import SeedsRelease
from modit.release.untrained_answer import answer_untrained
from modit.serve.settings import Settings, verdict_files
from tests.unit.infra.test_images_import import import_in
from tests.unit.serve.conftest import listening, running, wait_until

# Regressions are fitted, which takes a busy machine some time.
eventually = partial(wait_until, seconds=60)

# Without the attribute, near each other, and with verdicts.
SEEDS = ["item-116", "item-229", "item-132"]


@pytest.fixture(scope="module")
def voting(make_bundle, vote_file):
    return make_bundle(("crime", "drama"), vote_file=vote_file)


@pytest.fixture
def verdicts(voting, tmp_path) -> Path:
    """A third of the items; those have the attribute whose first coordinate is positive."""
    return write(tmp_path / "premium.csv", voting.catalog, slice(0, 100))


def write(path: Path, catalog, rows: slice) -> Path:
    ids, positive = catalog.item_ids[rows].tolist(), (catalog.embeddings[rows, 0] > 0).astype(int).tolist()
    path.write_text("item_id,verdict\n" + "".join(f"{i},{v}\n" for i, v in zip(ids, positive, strict=True)))
    return path


def champions(bundle):
    return lambda: [bundle.named("drama", 3), bundle.named("crime", 1)]


def ask(client, **more):
    answer = client.post("/v1/retrieve", json={"domain": "premium", "seeds": {"item_ids": SEEDS}, "k": 20} | more)
    return answer.json() if answer.status_code == 200 else answer


def serving(bundle, file, **settings):
    return running(champions(bundle), verdicts={"premium": str(file)}, **settings)


def wait_for_premium(client):
    eventually(lambda: "premium" in client.get("/readyz").json()["releases"])


def problem_of(client) -> str:
    eventually(lambda: "verdicts of premium" in client.get("/readyz").json()["problems"])
    return client.get("/readyz").json()["problems"]["verdicts of premium"]


def test_the_service_answers_as_the_command_does_from_the_runs_folder(voting, verdicts):
    expected = answer_untrained(voting.run, str(verdicts), SEEDS, 20, "premium")
    with serving(voting, verdicts) as client:
        wait_for_premium(client)
        answer = ask(client)
    assert (answer["trained"], answer["model"], answer["version"]) == (False, "untrained", 0)
    assert answer["index_digest"] == voting.index_digest
    assert [item["item_id"] for item in answer["items"]] == [item.item_id for item in expected]
    for item, other in zip(answer["items"], expected, strict=True):
        assert item["score"] == pytest.approx(other.score, abs=1e-6) and item["title"] == other.title
        assert item["verdict"] == other.verdict
        assert item["probability"] == (None if other.verdict is not None else pytest.approx(other.probability))
    assert not {item["item_id"] for item in answer["items"]} & set(SEEDS)


def test_results_have_the_attribute_more_often_than_those_of_the_mean_of_the_seeds(voting, verdicts):
    catalog = voting.catalog
    rows = [catalog.item_ids.tolist().index(seed) for seed in SEEDS]
    near = np.argsort(-(catalog.embeddings @ catalog.embeddings[rows].mean(0)))[:23]
    positive = dict(zip(catalog.item_ids.tolist(), catalog.embeddings[:, 0] > 0, strict=True))
    with serving(voting, verdicts) as client:
        wait_for_premium(client)
        found = [positive[item["item_id"]] for item in ask(client)["items"]]
    assert np.mean(found) > np.mean(catalog.embeddings[near, 0] > 0) + 0.2


@pytest.mark.parametrize("wanted", [True, False, "unknown"])
def test_the_filter_goes_by_the_verdicts_of_the_file(voting, verdicts, wanted):
    given = voting.catalog.item_ids[:100].tolist()
    with serving(voting, verdicts) as client:
        wait_for_premium(client)
        items = ask(client, filter={"include": {"attr_premium": wanted}})["items"]
        assert items and all(item["verdict"] == (None if wanted == "unknown" else wanted) for item in items)
        assert all((item["item_id"] in given) == (wanted != "unknown") for item in items)
        # Of the other domains nothing has changed, and they do not know the new column.
        refused = client.post(
            "/v1/retrieve",
            json={"domain": "drama", "seeds": {"item_ids": SEEDS}, "filter": {"include": {"attr_premium": True}}},
        )
        assert refused.status_code == 422
        answer = client.post("/v1/retrieve", json={"domain": "drama", "seeds": {"item_ids": SEEDS}}).json()
        assert answer["trained"] and answer["version"] == 3


def test_seeds_and_excluded_items_are_no_evidence(voting, verdicts):
    with serving(voting, verdicts) as client:
        wait_for_premium(client)
        release = client.app.state.service.release("premium", SeedsRelease)
        query = np.float32(ask(client, return_query=True)["query"])
    rows = np.sort(release.items.rows_of(SEEDS))
    vectors, known = np.asarray(release.items.embeddings[rows]), release.retriever.verdicts
    without = replace(known, known=known.known & ~np.isin(np.arange(len(known.known)), rows))
    (expected,) = generate_queries(release.sampler, [Query(vectors, 20)], without)
    (seeds_counted,) = generate_queries(release.sampler, [Query(vectors, 20)], known)
    assert np.abs(query - expected).max() < 1e-5
    assert known.known[rows].any() and np.abs(query - seeds_counted).max() > 1e-4


def test_a_file_that_changes_is_read_again_and_one_with_a_fault_leaves_the_old_verdicts(voting, verdicts):
    with serving(voting, verdicts) as client:
        wait_for_premium(client)
        assert sum(client.get("/readyz").json()["releases"]["premium"]["untrained"].values()) == 100
        write(verdicts, voting.catalog, slice(0, 150))
        eventually(lambda: sum(client.get("/readyz").json()["releases"]["premium"]["untrained"].values()) == 150)
        verdicts.write_text("item_id,verdict\nnobody,1\n")
        assert "'nobody'" in problem_of(client)
        assert client.get("/readyz").status_code == 200 and len(ask(client)["items"]) == 20
        write(verdicts, voting.catalog, slice(0, 60))
        eventually(lambda: not client.get("/readyz").json()["problems"])
        assert sum(client.get("/readyz").json()["releases"]["premium"]["untrained"].values()) == 60


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("item_id,verdict\nnobody,1\n", "ContractError: premium.csv, row 0 (from 0), column 'item_id': is 'nobody'"),
        ("item_id,verdict\nitem-1,1\nitem-1,0\n", "says 0; allowed: one verdict of an item"),
        ("item_id,verdict\nitem-1,1\nitem-2,0\n", "1 positive and 1 negative verdicts; allowed: at least 5 of each"),
        ("item_id,verdict\nitem-1,perhaps\n", "is 'perhaps'; allowed"),
        (None, "premium.csv cannot be read"),
    ],
)
def test_a_file_with_a_fault_is_named_and_the_other_domains_answer(voting, tmp_path, gained, content, message):
    if content:
        (tmp_path / "premium.csv").write_text(content)
    with serving(voting, tmp_path / "premium.csv") as client:
        assert message in problem_of(client)
        assert gained("modit_reloads_total", result="failed") >= 1
        refused = ask(client)
        assert (
            refused.status_code == 503 and "no release yet; /readyz says why" in refused.json()["errors"][0]["message"]
        )
        assert client.post("/v1/retrieve", json={"domain": "drama", "seeds": {"item_ids": SEEDS}}).is_success


def test_a_parquet_file_with_the_column_of_the_domain_does_as_well(voting, tmp_path):
    catalog = voting.catalog
    columns = {"item_id": catalog.item_ids[:80], "attr_premium": catalog.embeddings[:80, 0] > 0}
    pq.write_table(pa.table(columns), tmp_path / "premium.parquet")
    with serving(voting, tmp_path / "premium.parquet") as client:
        wait_for_premium(client)
        assert sum(client.get("/readyz").json()["releases"]["premium"]["untrained"].values()) == 80


def test_a_model_takes_the_place_of_the_verdicts_as_soon_as_it_is_promoted(make_bundle, vote_file, tmp_path):
    bundle = make_bundle(("crime", "drama"), vote_file=vote_file)
    file, served = write(tmp_path / "drama.csv", bundle.catalog, slice(0, 100)), [bundle.named("crime", 1)]
    with running(lambda: served, verdicts={"drama": str(file)}) as client:
        asked = {"domain": "drama", "seeds": {"item_ids": SEEDS}}
        eventually(lambda: "drama" in client.get("/readyz").json()["releases"])
        assert not client.post("/v1/retrieve", json=asked).json()["trained"]
        served.append(bundle.named("drama", 4))
        eventually(lambda: client.post("/v1/retrieve", json=asked).json()["trained"])
        assert client.post("/v1/retrieve", json=asked).json()["version"] == 4
        eventually(lambda: client.get("/readyz").json()["problems"])
        message = f"{file} is not read: a model of drama is registered; leave out --verdicts drama"
        assert client.get("/readyz").json()["problems"] == {"verdicts of drama": message}


def test_a_run_of_an_earlier_version_has_nothing_to_vote_with_and_says_so(bundle, verdicts):
    with serving(bundle, verdicts) as client:
        assert "none of its domains has a readout yet" in problem_of(client)


def test_limits_are_those_of_the_other_domains_and_lists_are_reranked_unless_a_request_says_no(voting, verdicts):
    with serving(voting, verdicts) as client:
        wait_for_premium(client)
        assert ask(client, k=51).status_code == 422
        assert ask(client, seeds={"item_ids": ["nobody"]}).status_code == 422
        assert ask(client, seeds={"item_ids": [f"item-{n}" for n in range(13)]}).status_code == 422
        default, plain = ask(client), ask(client, rerank=False)
        assert default["reranked"] and not plain["reranked"]
        assert ask(client, rerank=True) == default != plain | {"reranked": True}
        batch = {"requests": [{"domain": name, "seeds": {"item_ids": SEEDS}} for name in ("premium", "drama")]}
        answers = client.post("/v1/retrieve/batch", json=batch).json()["answers"]
        assert [answer["trained"] for answer in answers] == [False, True]
        unknown = client.post("/v1/retrieve", json={"domain": "nothing", "seeds": {"item_ids": SEEDS}})
        assert unknown.status_code == 404 and "crime, drama, premium" in unknown.json()["errors"][0]["message"]


def test_pages_and_metrics_say_that_nothing_is_trained(voting, verdicts):
    with serving(voting, verdicts) as client:
        wait_for_premium(client)
        page = client.get("/explore", params={"domain": "premium", "seed": SEEDS}).text
        metrics = client.get("/metrics").text
        drama = client.get("/explore", params={"domain": "drama", "seed": SEEDS}).text
    assert "premium (untrained)" in page and "Nothing is trained for premium" in page and "not scored" in page
    assert "patterns of a domain are found when it is trained" in page
    assert "Nothing is trained for" not in drama and "drama (untrained)" not in drama
    positives = int((voting.catalog.embeddings[:100, 0] > 0).sum())
    assert f'modit_untrained_verdicts{{domain="premium",verdict="positive"}} {positives}.0' in metrics
    assert 'modit_release_info{domain="premium"' not in metrics


def test_requests_for_it_are_not_logged_as_labels_which_a_night_would_refuse(voting, verdicts, tmp_path):
    folder = tmp_path / "input"
    with serving(voting, verdicts, log_requests=str(folder)) as client:
        wait_for_premium(client)
        ask(client)
        client.post("/v1/retrieve", json={"domain": "drama", "seeds": {"item_ids": SEEDS}})
    files = list(folder.rglob("*.parquet"))
    assert {domain for file in files for domain in pq.read_table(file)["domain"].to_pylist()} <= {"drama"}


def test_the_client_and_the_command_show_that_nothing_is_trained(voting, verdicts, capsys):
    with listening(champions(voting), verdicts={"premium": str(verdicts)}, reload_seconds=0.05) as url:
        client = Client(url)
        eventually(lambda: "premium" in client.readiness()["releases"])
        answer = client.retrieve("premium", SEEDS, 5)
        assert not answer.trained and table(answer).startswith("premium before training, index ")
        assert main(["query", "--url", url, "--domain", "premium", "--seeds", ",".join(SEEDS), "-k", "5"]) == 0
        assert capsys.readouterr().out.strip() == table(answer)
        assert client.retrieve("drama", SEEDS, 5).trained


def test_files_are_given_as_domain_and_address():
    assert verdict_files(["premium=a.csv", "vip=s3://b/c=d.csv"]) == {"premium": "a.csv", "vip": "s3://b/c=d.csv"}
    with pytest.raises(ConfigError, match="--verdicts is 'vip=b'; allowed: each domain once"):
        verdict_files(["vip=a", "vip=b"])


@pytest.mark.parametrize("given", [{"Premium": "a.csv"}, {"premium": ""}])
def test_a_setting_of_verdicts_that_is_not_allowed_is_named(given):
    with pytest.raises(ConfigError, match="--verdicts is .*; allowed: DOMAIN=FILE"):
        Settings("sqlite:////none", verdicts=given)


def test_a_domain_is_served_by_its_model_or_by_its_verdicts():
    with pytest.raises(ConfigError, match="allowed: a domain that --domains does not name"):
        Settings("sqlite:////none", domains=("drama",), verdicts={"drama": "a.csv"})


def test_the_image_of_the_service_has_all_that_it_takes():
    done = import_in("serve", "modit.serve.app", "modit.release.untrained_release", "sklearn.linear_model", "duckdb")
    assert done.returncode == 0, done.stderr


def test_no_torch_is_imported_to_answer(voting, verdicts, tmp_path):
    code = (
        "import sys\n"
        "from modit.release.untrained_answer import answer_untrained\n"
        f"assert answer_untrained({voting.run!r}, {str(verdicts)!r}, {SEEDS!r}, 5)\n"
        "assert 'torch' not in sys.modules"
    )
    environment = {**os.environ, "MODIT_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
