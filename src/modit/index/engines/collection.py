"""A collection of vectors in an engine: what an adapter offers, and the address that names one.

An adapter is one class with the methods of `Collection` and a line in `ADAPTERS`. Rows, masks, exclusions and bad
input are the business of `modit.index.engines.engine_index`, once for all adapters.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit

import numpy as np

from modit.core.errors import ConfigError, ServerError, TransientError

# scheme -> name of the engine, its module and class, and the extra of modit that brings its client.
ADAPTERS: Mapping[str, tuple[str, str, str]] = {
    "postgresql": ("pgvector", "modit.index.engines.pgvector:PgvectorCollection", "pgvector"),
    "lance": ("lancedb", "modit.index.engines.lance:LanceCollection", "lancedb"),
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?")
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPTIONS = ("collection", "id", "vector", "effort")
_PASSWORD = re.compile(r":[^:/@]*@")


class EngineError(ServerError):
    """An engine does not have what was asked for, or refuses; the message names the collection and what it said."""


class EngineDownError(EngineError, TransientError):
    """An engine does not answer."""


class Batch(NamedTuple):
    """Items to write: ids, unicode [n], and unit vectors, float32 [n, d]."""

    item_ids: np.ndarray
    vectors: np.ndarray


class Hits(NamedTuple):
    """What an engine found for one query, best first: ids [n], and inner products with the unit vectors [n]."""

    item_ids: list[str]
    scores: np.ndarray


@dataclass(frozen=True)
class EngineAddress:
    """Where a collection lies.

    Attributes:
        engine: Name of the engine.
        place: What its client connects to; it may hold a password, so it is never shown.
        shown: The same without a password.
        collection: Name of the table or collection, perhaps with a schema before it.
        id: Column of the ids of items.
        vector: Column of the vectors.
        effort: Candidates or lists that an approximate search visits, in the engine's own measure, >= 1.
    """

    engine: str
    place: str = field(repr=False)
    shown: str
    collection: str = "items"
    id: str = "item_id"
    vector: str = "embedding"
    effort: int = 100

    @classmethod
    def parse(cls, text: str) -> EngineAddress:
        """Reads an address such as `postgresql://user@host/db?collection=items` or `lance:///path?collection=items`.

        The options `collection`, `id`, `vector` and `effort` are read here; the others are passed to the client.

        Raises:
            ConfigError: The scheme is not known or an option is not allowed.
        """
        parts = urlsplit(text)
        shown = _PASSWORD.sub("@", f"{parts.scheme}://{parts.netloc}{parts.path}")
        adapter = ADAPTERS.get(parts.scheme)
        if adapter is None:
            allowed = ", ".join(f"{scheme}://..." for scheme in ADAPTERS)
            raise ConfigError(f"the address of an index engine is {shown!r}; allowed: {allowed}")
        given = dict(parse_qsl(parts.query, keep_blank_values=True))
        own = {name: given.pop(name) for name in _OPTIONS if name in given}
        for name, pattern in (("collection", _NAME), ("id", _COLUMN), ("vector", _COLUMN)):
            if name in own and not pattern.fullmatch(own[name]):
                allowed = "letters, digits and underscores" + (", with a schema before it" * (pattern is _NAME))
                raise ConfigError(f"{name} of the index engine {shown} is {own[name]!r}; allowed: {allowed}")
        effort = own.pop("effort", "100")
        if not (effort.isdecimal() and 1 <= int(effort) <= 1000):
            raise ConfigError(f"effort of the index engine {shown} is {effort!r}; allowed: 1..1000")
        rest = f"?{urlencode(given)}" if given else ""
        place = f"{parts.scheme}://{parts.netloc}{parts.path}{rest}"  # urlunsplit drops the // of an empty host
        return cls(adapter[0], place, shown, effort=int(effort), **own)

    def at(self, generation: str) -> EngineAddress:
        """The address of a generation: a collection of its own beside this one, with columns that modit names."""
        return replace(self, collection=f"{self.collection}_{generation}", id="item_id", vector="embedding")

    @property
    def has_password(self) -> bool:
        """Whether the address holds one."""
        return _PASSWORD.search(self.place) is not None or "password=" in self.place

    def __str__(self) -> str:
        return f"{self.shown}?collection={self.collection}"


class Collection(Protocol):
    """One collection of an engine. Any number of threads may search at the same time.

    Every method raises EngineDownError where the engine does not answer, and EngineError where it refuses.
    """

    address: EngineAddress

    def count(self) -> int | None:
        """Number of items; None where there is no such collection."""

    def dimension(self) -> int:
        """Width of its vectors."""

    def upsert(self, batches: Iterable[Batch]) -> None:
        """Adds items, and replaces those that have the same id; makes the collection where it is missing.

        Others see all of it or nothing.

        Args:
            batches: At least one item in all, each id once.
        """

    def accelerate(self) -> None:
        """Builds the engine's approximate index over what the collection holds."""

    def search(self, queries: np.ndarray, k: int, only: Sequence[str] | None = None, exact: bool = False) -> list[Hits]:
        """Finds the items of greatest inner product.

        Args:
            queries: Unit float32 [B, d].
            k: Items wanted for each query, >= 1.
            only: Ids of the items that may be found, some thousands at most; None for all.
            exact: Look at every item, even where there is an approximate index.

        Returns:
            B lists, fewer than k items only where there are no more.
        """

    def vectors(self, item_ids: Sequence[str]) -> dict[str, np.ndarray]:
        """Vectors of some items, float32 [d] each, as they are stored; without those that are not there."""

    def drop(self) -> None:
        """Deletes the collection; nothing where it is missing."""


def open_collection(address: EngineAddress) -> Collection:
    """The collection of an address. Nothing is asked of the engine yet.

    Raises:
        ConfigError: The client of the engine is not installed.
    """
    _, where, extra = next(each for each in ADAPTERS.values() if each[0] == address.engine)
    module, _, name = where.partition(":")
    try:
        adapter: Callable[[EngineAddress], Collection] = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        message = f"{error.name} is not installed: pip install -c constraints.txt '.[{extra}]'"
        raise ConfigError(message) from error
    return adapter(address)


def first_line(error: Exception) -> str:
    """What a client said, without the hints and statements that follow."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
