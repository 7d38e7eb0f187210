"""Requests whose answers over an index engine are those over the index of the bundle."""

from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient

_SEEDS = {"item_ids": ["item-1", "item-2", "item-3"]}
REQUESTS: list[dict[str, Any]] = [
    {"domain": "drama", "seeds": _SEEDS, "k": 10},
    {"domain": "crime", "seeds": _SEEDS, "k": 50, "exclude_item_ids": [f"item-{number}" for number in range(20, 40)]},
    {"domain": "drama", "seeds": _SEEDS, "k": 20, "filter": {"include": {"attr_drama": True}}},
    {"domain": "drama", "seeds": _SEEDS, "k": 20, "rerank": True},
]


def expect_equal_answers(found: TestClient, wanted: TestClient, request: dict[str, Any]) -> None:
    """Asks two services: the same items in the same order, with the same scores."""
    answers = [each.post("/v1/retrieve", json=request) for each in (found, wanted)]
    assert [each.status_code for each in answers] == [200, 200], answers[0].text
    ours, theirs = ([(item["item_id"], item["score"]) for item in each.json()["items"]] for each in answers)
    assert [item_id for item_id, _ in ours] == [item_id for item_id, _ in theirs]
    assert max(abs(one - other) for (_, one), (_, other) in zip(ours, theirs, strict=True)) < 1e-5
