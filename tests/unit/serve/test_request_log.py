"""Answered requests are noted as lists of their seeds; whatever becomes of the note, the answer is the same."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modit.core.errors import ConfigError
from modit.data.catalog import RETRIEVAL_LABEL_SCHEMA
from modit.metric.anchors import logged_labels
from modit.serve import request_log
from modit.serve.request_log import LoggedRequest, RequestLog
from tests.unit.serve.bundles import ITEMS
from tests.unit.serve.conftest import running, wait_until


def rows_of(folder):
    return [row for file in sorted(folder.rglob("*.parquet")) for row in pq.read_table(file).to_pylist()]


@pytest.fixture
def became(gained):
    """Tells how many requests became something in the log since the start of the test."""
    return lambda result: gained("modit_logged_requests_total", result=result)


def test_a_stopped_service_has_written_what_it_was_asked_with_the_neighbours_of_a_seed(bundle, became, tmp_path):
    ids, vectors = bundle.catalog.item_ids, bundle.catalog.embeddings
    with running(lambda: [bundle.named("drama")], log_requests=str(tmp_path)) as client:
        asked = {"domain": "drama", "seeds": {"item_ids": ids[[4, 7]].tolist()}}
        requests = [client.post("/v1/retrieve", json=asked).headers["x-request-id"] for _ in range(3)]
        client.post("/v1/retrieve", json=asked | {"seeds": {"vectors": vectors[:2].tolist()}})
        client.post("/v1/retrieve", json=asked | {"k": 0})
        wait_until(lambda: became("known") == 1)
        assert 'modit_logged_requests_total{result="known"}' in client.get("/metrics").text
        assert list(tmp_path.iterdir()) == []  # an empty folder of labels would be refused
    rows = rows_of(tmp_path / "retrieval_labels")
    assert {row["request_id"] for row in rows} == set(requests[:2])  # the third had no seed left
    for request, anchor in zip(requests, (4, 7), strict=False):
        listed = [row for row in rows if row["request_id"] == request]
        best = [row for row in np.argsort(-(vectors @ vectors[anchor])) if row != anchor][:30]
        assert [row["item_id"] for row in listed] == ids[best].tolist()
        assert [row["rank"] for row in listed] == list(range(1, 31))
        assert [row["label"] for row in listed] == bundle.catalog.positive("drama")[best].tolist()
        assert {(row["domain"], row["anchor_item_id"]) for row in listed} == {("drama", ids[anchor])}
    today = datetime.now(UTC).date()
    assert [folder.name for folder in (tmp_path / "retrieval_labels").iterdir()] == [f"date={today}"]
    assert all(row["timestamp"].date() == today for row in rows)


@pytest.mark.parametrize(("params", "k"), [({"retrieval": {"k": 40}}, 40), ({"retrieval": {"k": 12}}, 12), ({}, 10)])
def test_lists_are_as_deep_as_the_run_of_the_version_needs(make_bundle, tmp_path, params, k):
    """Of three times K results `label_anchors` has K left when some are held out."""
    bundle = make_bundle(params=params)
    with running(lambda: [bundle.named("drama")], log_requests=str(tmp_path)) as client:
        client.post("/v1/retrieve", json={"domain": "drama", "seeds": {"item_ids": ["item-1"]}, "k": 2})
    rows = rows_of(tmp_path / "retrieval_labels")
    assert len(rows) == min(3 * k, ITEMS - 1)
    catalog = bundle.catalog
    place = {item: row for row, item in enumerate(catalog.item_ids.tolist())}
    known = [row | {"anchor": place[row["anchor_item_id"]], "item": place[row["item_id"]]} for row in rows]
    logs = pa.Table.from_pylist(known, RETRIEVAL_LABEL_SCHEMA)
    trainable = np.random.default_rng(0).random(len(catalog)) < 0.8
    trainable[catalog.item_ids == "item-1"] = True
    assert len(logged_labels(logs, "drama", trainable, k)) == k


def test_items_that_were_not_scored_are_in_no_list(make_bundle, tmp_path):
    bundle = make_bundle(unscored=0.5)
    verdicts = dict(zip(bundle.catalog.item_ids, bundle.catalog.verdicts["drama"], strict=True))
    with running(lambda: [bundle.named("drama")], log_requests=str(tmp_path)) as client:
        client.post("/v1/retrieve", json={"domain": "drama", "seeds": {"item_ids": ["item-1"]}})
    rows = rows_of(tmp_path / "retrieval_labels")
    assert 5 < len(rows) < 30 and [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    assert all(row["label"] is bool(verdicts[row["item_id"]]) and verdicts[row["item_id"]] >= 0 for row in rows)


@pytest.fixture
def note(release):
    """Tells a log of a request for an item, at a time."""

    def tell(log, item_id, day=1):
        anchor = (item_id, int(release.items.rows_of([item_id])[0]))
        log.add(LoggedRequest(f"r-{item_id}-{day}", datetime(2026, 3, day, tzinfo=UTC), [anchor], release))

    return tell


def test_a_list_lies_under_the_day_of_its_request_and_each_day_anew(note, tmp_path):
    log = RequestLog(str(tmp_path), lists_a_second=1000)
    for day in (1, 1, 2):
        note(log, "item-1", day)
    log.start()
    wait_until(lambda: len(log._lists) == 2 and log._asked.empty())
    log.stop()
    assert sorted(folder.name for folder in tmp_path.glob("retrieval_labels/*")) == [
        "date=2026-03-01",
        "date=2026-03-02",
    ]
    assert len({row["request_id"] for row in rows_of(tmp_path)}) == 2


def test_a_full_log_drops_and_never_waits(note, became, tmp_path, monkeypatch):
    monkeypatch.setattr(request_log, "_WAITING", 3)
    log = RequestLog(str(tmp_path))  # not started: nobody takes
    begun = time.monotonic()
    for number in range(100):
        note(log, f"item-{number}")
    assert became("dropped") == 97 and time.monotonic() - begun < 1


def test_what_cannot_be_written_is_tried_again_and_the_oldest_is_given_up(note, became, tmp_path, monkeypatch):
    monkeypatch.setattr(request_log, "_LISTS", 4)
    log = RequestLog(str(tmp_path / "x"), 0.02, 1000)
    (tmp_path / "x").write_text("a file where the folder should be")
    for number in range(1, 12):
        note(log, f"item-{number}")
    log.start()
    wait_until(lambda: log._asked.empty() and became("failed"))
    (tmp_path / "x").unlink()
    wait_until(lambda: became("written"))
    log.stop()
    rows = rows_of(tmp_path)
    assert became("failed") + became("written") == 11 and became("written") <= 4
    assert "item-11" in {row["anchor_item_id"] for row in rows}


def test_a_request_that_cannot_be_noted_does_not_end_the_log(note, became, release, tmp_path):
    log = RequestLog(str(tmp_path), 0.02, 1000)
    log.add(LoggedRequest("r", datetime.now(UTC), [("item-1", 1)], None))
    unjudged = replace(release, source=replace(release.source, domain="a domain without a column"))
    log.add(LoggedRequest("s", datetime.now(UTC), [("item-1", 1)], unjudged))
    note(log, "item-1")
    log.start()
    wait_until(lambda: became("written"))
    log.stop()
    assert [became(result) for result in ("failed", "known", "written", "dropped")] == [1, 1, 1, 0]


def test_labels_in_one_file_are_refused(tmp_path):
    (tmp_path / "retrieval_labels.parquet").touch()
    with pytest.raises(ConfigError, match=r"retrieval_labels.parquet is there; allowed: a folder"):
        RequestLog(str(tmp_path))
