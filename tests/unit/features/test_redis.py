"""What only a real Redis can show."""

from __future__ import annotations

import numpy as np
import pytest

from modit.core.errors import UnknownItemError
from modit.features.lookup import OnlineItems
from tests.unit.features.conftest import RedisServer, Store

pytest.importorskip("feast", reason="needs the extra `features`")


def test_rows_are_in_the_server_and_in_no_file(redis_server, redis_store, world):
    before = redis_server.client().dbsize()
    redis_store.publish(world.night(0))
    assert redis_server.client().dbsize() == before + 40  # a hash for each item
    assert not (redis_store.folder / "online.db").exists()


def test_stores_that_share_a_server_do_not_see_each_others_items(redis_store, world, tmp_path):
    redis_store.publish(world.night(0))
    other, world.item_ids = Store(tmp_path / "other"), ["item 1", "item of the other"]
    other.publish(world.night(0))
    with pytest.raises(UnknownItemError, match="1 of 2 items .*: item 2$"):
        OnlineItems(other.open()).embeddings(["item 1", "item 2"])
    with pytest.raises(UnknownItemError, match="item of the other"):
        OnlineItems(redis_store.open()).embeddings(["item of the other"])


def test_a_server_that_restarts_from_an_older_snapshot_is_made_good_by_the_overlap(tmp_path, world, monkeypatch):
    """The nightly comparison would find it, too, where its sample has such an item: here it is off."""
    monkeypatch.setattr("modit.features.publish.compare_online", lambda *_: [])
    server, store = RedisServer(tmp_path), Store(tmp_path / "store")
    monkeypatch.setenv("MODIT_REDIS", server.address)
    with server:
        store.publish(world.night(0))
        server.client().save()
        gone = world.item_ids.pop(3)
        world.vectors["item 9"] = -world.vector("item 9")
        store.publish(world.night(1))
    with server:
        lost = OnlineItems(store.open()).embeddings([gone, "item 9"])
        assert np.array_equal(lost[1], -world.vector("item 9"))
        world.vectors["item 20"] = -world.vector("item 20")
        assert store.publish(world.night(2))["written"]["item_embedding"] == 1
        items = OnlineItems(store.open())
        assert items.embeddings(world.item_ids).tobytes() == np.stack([*map(world.vector, world.item_ids)]).tobytes()
        with pytest.raises(UnknownItemError, match=f": {gone}$"):
            items.embeddings([gone])
