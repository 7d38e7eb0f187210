"""A small catalogue that changes from night to night, and the feature store that it is published to."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from modit.features.params import FeatureParams
from modit.features.publish import publish
from modit.features.store import open_store
from modit.features.tables import FeatureTable, Night

REPOSITORY = Path(__file__).resolve().parents[3] / "feature_repo"
# Recent, so that nothing has expired.
FIRST = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=5)


@dataclass
class World:
    """Items with embeddings, activity and one domain."""

    item_ids: list[str] = field(default_factory=lambda: [f"item {number}" for number in range(40)])
    dimension: int = 6
    vectors: dict[str, np.ndarray] = field(default_factory=dict)
    densities: dict[str, float] = field(default_factory=dict)

    def vector(self, item_id: str) -> np.ndarray:
        drawn = np.random.default_rng(zlib.crc32(item_id.encode())).standard_normal(self.dimension)
        return self.vectors.setdefault(item_id, (drawn / np.linalg.norm(drawn)).astype(np.float32))

    def tables(self) -> list[FeatureTable]:
        ids, numbers = np.array(self.item_ids), np.arange(len(self.item_ids))
        density = np.array([self.densities.get(each, 0.1) for each in ids], np.float32)
        days = np.where(numbers % 3, numbers / 7, np.nan).astype(np.float32)
        return [
            FeatureTable("item_embedding", ids, {"embedding": np.stack([self.vector(each) for each in ids])}),
            FeatureTable("item_activity", ids, {"interactions": numbers.astype(np.int64), "days_since_seen": days}),
            FeatureTable("item_metric_drama", ids, {"pattern": (numbers % 4).astype(np.int64), "density": density}),
        ]

    def night(self, number: int, run: str = "run") -> Night:
        return Night(FIRST + timedelta(days=number), f"/runs/{run}-{number}", ["drama"], self.tables())


@dataclass
class Store:
    """A feature store's folder."""

    folder: Path

    def publish(self, night: Night, created: datetime | None = None, in_use=frozenset, **params: object) -> dict:
        return publish(self.folder, REPOSITORY, night, FeatureParams(**params), created, in_use)

    def open(self):
        return open_store(self.folder)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def sqlite_store(tmp_path, monkeypatch) -> Store:
    monkeypatch.delenv("MODIT_REDIS", raising=False)
    return Store(tmp_path / "store")


class RedisServer:
    """A server of our own, which loads the last snapshot of its folder when it starts."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("no redis-server on this machine: apt-get install redis-server (.ci/run does)")
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]

    def __enter__(self) -> RedisServer:
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", self.port)) == 0:
                    break
            assert self.process.poll() is None, "redis-server ended"
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        """As by `kill -9`: nothing is saved."""
        self.process.kill()
        self.process.wait(30)

    def client(self):
        import redis

        return redis.Redis(port=self.port)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def redis_address(redis_server) -> str:
    return redis_server.address


@pytest.fixture
def redis_store(redis_address, tmp_path, monkeypatch) -> Store:
    monkeypatch.setenv("MODIT_REDIS", redis_address)
    return Store(tmp_path / f"store_{tmp_path.name}")


@pytest.fixture(params=["sqlite", "redis"])
def store(request) -> Store:
    """The same tests for both online stores."""
    return request.getfixturevalue(f"{request.param}_store")
