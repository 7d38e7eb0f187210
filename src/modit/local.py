"""Answers from a release in this process, without a service and without torch: `modit.load`.

retriever = modit.load("models:/modit-popular@champion")
retriever.query(["item-1", "item-2"], k=5)

Requests are read, searched and answered by the code of the service, `modit.serve`, so the answers are equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic

import numpy as np
import pandas as pd
from pydantic import BaseModel, ValidationError

from modit.core.errors import ConfigError
from modit.core.storage import Storage
from modit.index.engines.collection import EngineAddress
from modit.release.bundle.bundle import BUNDLE_FILE
from modit.release.bundle.loading import load_release
from modit.release.bundle.release import (
    FanOutRelease,
    NextItemRelease,
    Release,
    ReleaseSource,
    SearchRelease,
    SeedsRelease,
)
from modit.release.kinds import KINDS, OF_SEEDS, kind_of
from modit.release.model_registry.model_version import CHAMPION, PREFIX, PREVIOUS, NamedVersion, domain_of, model_name
from modit.release.model_registry.registry_access import existing_registry
from modit.release.model_registry.release_state import resolve_version
from modit.serve.fan_out import FanOutTask
from modit.serve.recommend import RecommendTask
from modit.serve.retrieve import RetrieveTask
from modit.serve.schema import (
    FanOutAnswer,
    FanOutRequest,
    FoundItem,
    RecommendAnswer,
    RecommendedItem,
    RecommendRequest,
    RequestError,
    ResultItem,
    RetrieveAnswer,
    RetrieveRequest,
    SearchAnswer,
    SearchRequest,
    SetItem,
)
from modit.serve.search import SearchTask
from modit.serve.settings import Limits
from modit.serve.tasks import A, L, Placed, R, Task

_MODELS = "models:/"
# A service bounds what one request may ask for, since strangers ask.
_LIMITS = Limits(k=2**31, exclude=2**31)
# Requests that are answered at once: it bounds the memory, and changes no answer.
_AT_ONCE = 64

Filter = Mapping[str, Mapping[str, bool | str]]


class LocalRetriever(Generic[R, A, L]):
    """Answers requests of one kind from one release.

    Attributes:
        release: What answers, with its version, items and index.
    """

    def __init__(self, release: L, task: Task[R, Any, A, L], request: type[R], item: type[BaseModel]) -> None:
        """Puts a task of the service over a release.

        Args:
            release: That answers.
            task: Reads and answers requests.
            request: Its requests.
            item: An item of its answers.
        """
        self.release = release
        self._task, self._request, self._columns = task, request, list(item.model_fields)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.release.label}, {len(self.release.items)} items>"

    def answers(self, requests: Sequence[Mapping[str, Any]]) -> list[A]:
        """Answers requests that are written as for the service.

        Args:
            requests: The fields of each, as docs/reference/http-api.md has them.

        Returns:
            What the service answers, in the order of the requests.

        Raises:
            ConfigError: A field is unknown or missing, or its value is not allowed; it is named.
        """
        found: list[A] = []
        for start in range(0, len(requests), _AT_ONCE):
            numbers = range(start, min(start + _AT_ONCE, len(requests)))
            places = [f"requests.{number}." if len(requests) > 1 else "" for number in numbers]
            with _refusals_as_errors():
                placed = [self._placed(requests[n], place) for n, place in zip(numbers, places, strict=True)]
                queries = self._task.read(placed, self.release)
                results = self._task.search(queries, self.release)
                found += [self._task.answer(*each, self.release) for each in zip(queries, results, strict=True)]
        return found

    def _placed(self, request: Mapping[str, Any], place: str) -> Placed[R]:
        try:
            return Placed(self._request.model_validate(request), place)
        except ValidationError as error:
            problem = error.errors()[0]
            field = place + ".".join(map(str, problem["loc"]))
            raise RequestError(field, problem["input"], problem["msg"]) from error

    def _table(self, requests: Sequence[Mapping[str, Any]], labels: Sequence[Any] | None) -> pd.DataFrame:
        """The items of all answers. Fields of requests that are None count as not given."""
        answers = self.answers([{name: each[name] for name in each if each[name] is not None} for each in requests])
        rows = [item.model_dump() for answer in answers for item in answer.items]
        table = pd.DataFrame.from_records(rows, columns=self._columns)
        if "verdict" in table:
            table = table.astype({"verdict": "boolean", "probability": float})
        if labels is not None:
            counts = [len(answer.items) for answer in answers]
            table.insert(0, "request", [label for label, n in zip(labels, counts, strict=True) for _ in range(n)])
        return table


class SeedsRetriever(LocalRetriever[RetrieveRequest, RetrieveAnswer, SeedsRelease]):
    """Finds items that have the attribute of a domain and are like the seeds."""

    def __init__(self, release: SeedsRelease) -> None:
        """Takes a loaded release."""
        super().__init__(release, RetrieveTask(_LIMITS), RetrieveRequest, ResultItem)

    def answers(self, requests: Sequence[Mapping[str, Any]]) -> list[RetrieveAnswer]:
        """As `LocalRetriever.answers`; the domain need not be given."""
        return super().answers([{"domain": self.release.source.domain, **each} for each in requests])

    def query(
        self,
        seeds: Any,
        k: int = 10,
        *,
        rerank: bool | None = None,
        guidance: float | None = None,
        samples: int | None = None,
        exclude: Sequence[str | int] = (),
        filter: Filter | None = None,
    ) -> pd.DataFrame:
        """Finds items for one seed set or for many.

        Args:
            seeds: Ids, or vectors [m, d] of any length: a list, an array, a Series of ids, a DataFrame with a vector in
                each row. Of many sets: a list or a Series of such sets, or an array [n, m] of ids or [n, m, d] of
                vectors.
            k: Items wanted for each set, >= 1.
            rerank: Whether a longer list is reordered by how likely its items have the attribute and lie in the
                pattern; None: yes, unless that was clearly worse on validation.
            guidance: How strongly the query is moved towards the attribute, 0 to 10; None: as validation chose.
            samples: Generated vectors that are averaged into the query, a multiple of the sampler's own.
            exclude: Ids of items that are no results; seeds given by id never are.
            filter: Which items may be results, such as `{"include": {"title": "chair"}}`.

        Returns:
            A row for each item, best first: `item_id`, `score`, `verdict`, `probability`, `title`. Of many sets,
            `request` comes first: the number of the set, or its label in the Series.

        Raises:
            ConfigError: A value is not allowed; the field is named.
        """
        sets, labels = _seed_sets(seeds)
        options = {"k": k, "rerank": rerank, "guidance": guidance, "samples": samples, "filter": filter}
        options["exclude_item_ids"] = plain(exclude)
        return self._table([{"seeds": each, **options} for each in sets], labels)

    def vectors(
        self,
        seeds: Any,
        *,
        guidance: float | None = None,
        samples: int | None = None,
        exclude: Sequence[str | int] = (),
    ) -> np.ndarray:
        """Generates the query vectors, for a vector index that you run yourself.

        Args:
            seeds: As of `query`.
            guidance: As of `query`.
            samples: As of `query`.
            exclude: As of `query`: the verdicts of these items do not count either.

        Returns:
            Unit float32 [d] of one seed set, [n, d] of many.

        Raises:
            ConfigError: A value is not allowed; the field is named.
        """
        sets, labels = _seed_sets(seeds)
        options = {"k": 1, "rerank": False, "return_query": True, "exclude_item_ids": plain(exclude)}
        options |= {name: v for name, v in (("guidance", guidance), ("samples", samples)) if v is not None}
        found = np.array([each.query for each in self.answers([{"seeds": each, **options} for each in sets])])
        return found.astype(np.float32)[0 if labels is None else slice(None)]


class SessionRetriever(LocalRetriever[RecommendRequest, RecommendAnswer, NextItemRelease]):
    """Finds items that are likely to be next in a session."""

    def __init__(self, release: NextItemRelease) -> None:
        """Takes a loaded release."""
        super().__init__(release, RecommendTask(_LIMITS), RecommendRequest, RecommendedItem)

    def query(
        self,
        sessions: Any,
        k: int = 10,
        *,
        repeat: bool | None = None,
        exclude: Sequence[str | int] = (),
        filter: Filter | None = None,
    ) -> pd.DataFrame:
        """Finds items for one session or for many.

        Args:
            sessions: Ids of the items of a session, oldest first; or a list, an array [n, m] or a Series of sessions.
            k: Items wanted for each session, >= 1.
            repeat: Whether items of the session may be results; None: as the version was judged.
            exclude: Ids of items that are no results.
            filter: Which items may be results.

        Returns:
            A row for each item, best first: `item_id`, `score`, `title`; of many sessions, `request` comes first.

        Raises:
            ConfigError: A value is not allowed; the field is named.
        """
        several = _depth(sessions) > 1
        options = {"k": k, "repeat": repeat, "filter": filter, "exclude_item_ids": plain(exclude)}
        asked = [{"session": plain(each), **options} for each in (sessions if several else [sessions])]
        return self._table(asked, _labels(sessions) if several else None)


class _ByText(LocalRetriever[R, A, L]):
    """What retrievers that are asked with texts have in common."""

    def query(
        self, texts: Any, k: int = 10, *, exclude: Sequence[str | int] = (), filter: Filter | None = None
    ) -> pd.DataFrame:
        """Finds items for one text or for many.

        Args:
            texts: A text, or a list, an array or a Series of texts.
            k: Items wanted for each text, >= 1.
            exclude: Ids of items that are no results.
            filter: Which items may be results.

        Returns:
            A row for each item, best first: `item_id`, `score`, `title`, and of a fan-out the `query` that it is
            nearest to; of many texts, `request` comes first.

        Raises:
            ConfigError: A value is not allowed; the field is named.
        """
        several = not isinstance(texts, str)
        options = {"k": k, "filter": filter, "exclude_item_ids": plain(exclude)}
        asked = [{"text": each, **options} for each in (plain(texts) if several else [texts])]
        return self._table(asked, _labels(texts) if several else None)


class TextRetriever(_ByText[SearchRequest, SearchAnswer, SearchRelease]):
    """Finds items that a text describes."""

    def __init__(self, release: SearchRelease) -> None:
        """Takes a loaded release."""
        super().__init__(release, SearchTask(_LIMITS), SearchRequest, FoundItem)


class IntentRetriever(_ByText[FanOutRequest, FanOutAnswer, FanOutRelease]):
    """Finds a varied set of items for an intent."""

    def __init__(self, release: FanOutRelease) -> None:
        """Takes a loaded release."""
        super().__init__(release, FanOutTask(_LIMITS), FanOutRequest, SetItem)


AnyRetriever = SeedsRetriever | SessionRetriever | TextRetriever | IntentRetriever


def load(
    where: str | Path, *, domain: str | None = None, registry: str | None = None, index: str | None = None
) -> AnyRetriever:
    """Loads a release and verifies every digest of it.

    Args:
        where: A registered version as MLflow writes it, such as `models:/modit-popular@champion` or
            `models:/modit-popular/3`; or the folder or address of a run, or of a bundle in it.
        domain: Of a run that has bundles of several; `next_item`, `search` and `fan_out` are those that
            are judged once.
        registry: Address of the registry; None: the one that MLflow is set to, as by MLFLOW_TRACKING_URI.
        index: Address of a collection of your own engine that seeds' lists are searched in, such as
            `postgresql://HOST/DB?collection=items`; None: the index of the bundle.

    Returns:
        A `SeedsRetriever`, or what answers sessions, texts or intents.

    Raises:
        ConfigError: There is no such version, or the run has no such bundle; what there is is named. Or `index` is not
            an address, or is given for sessions or texts.
        EngineError: The engine does not answer, has no such collection, or holds other vectors.
        ArtifactError: A file is missing, damaged, or not what the version was registered with.
    """
    text = str(where)
    named = text.startswith(_MODELS)
    source = ReleaseSource.of(_registered(text, registry)) if named else _source_in(text, domain)
    if index and source.kind is not OF_SEEDS:
        raise ConfigError(f"index: {source.domain} is not searched in an index of yours; allowed: domains of seeds")
    return retriever_of(load_release(source, engine=EngineAddress.parse(index) if index else None))


def retriever_of(release: Release) -> AnyRetriever:
    """What answers from a loaded release of any kind."""
    if isinstance(release, SeedsRelease):
        return SeedsRetriever(release)
    if isinstance(release, NextItemRelease):
        return SessionRetriever(release)
    if isinstance(release, SearchRelease):
        return TextRetriever(release)
    assert isinstance(release, FanOutRelease)
    return IntentRetriever(release)


def _registered(uri: str, registry: str | None) -> NamedVersion:
    """The version that `models:/NAME@ALIAS` or `models:/NAME/VERSION` names."""
    if registry is None:
        from mlflow import get_registry_uri  # slow to import

        registry = get_registry_uri()
    name = uri.removeprefix(_MODELS)
    model, at, alias = name.partition("@")
    number = "" if at else model.rpartition("/")[2]
    domain = domain_of(model if at else model.rpartition("/")[0])
    if not name.startswith(PREFIX) or not (alias or number.isdecimal()):
        allowed = f"{_MODELS}{PREFIX}DOMAIN@ALIAS or {_MODELS}{PREFIX}DOMAIN/VERSION"
        raise ConfigError(f"{uri!r} names no version of a model of modit; allowed: {allowed}")
    models = existing_registry(registry)
    if number:
        return models.version(domain, int(number))
    if domain not in models.domains():
        allowed = ", ".join(map(model_name, models.domains()))
        raise ConfigError(f"registry {registry} has no {model_name(domain)}; allowed: {allowed}")
    by_log = alias in (CHAMPION, PREVIOUS)
    found = resolve_version(models, domain, alias) if by_log else models.named_version(domain, alias)
    if found is None:
        allowed = ", ".join(models.aliases(domain)) or "a version by its number"
        raise ConfigError(f"{model_name(domain)} has no version with the alias {alias!r}; allowed: {allowed}")
    return found


def _source_in(where: str, domain: str | None) -> ReleaseSource:
    """The release whose bundle is at an address: that of a bundle, or of a run."""
    folder = Storage(where)
    own = folder.read_json(BUNDLE_FILE)
    if own is not None:
        name = str(own.get("domain"))
        run = folder.parent.parent if kind_of(name) is OF_SEEDS else folder.parent
        return ReleaseSource.of_run(run.uri, name)
    of_seeds = (file.split("/") for file in folder.at(OF_SEEDS.bundle).sizes())
    there = sorted(parts[0] for parts in of_seeds if parts[1:] == [BUNDLE_FILE])
    there += [kind.name for kind in KINDS if kind.name and folder.at(kind.bundle).read_bytes(BUNDLE_FILE) is not None]
    if not there:
        raise ConfigError(f"{folder.uri} has no bundle; allowed: a bundle's folder, or a run that came as far")
    chosen = there[0] if domain is None and len(there) == 1 else domain
    if chosen not in there:
        raise ConfigError(f"{folder.uri}: domain is {domain!r}; allowed: {', '.join(there)}")
    return ReleaseSource.of_run(folder.uri, chosen)


@contextmanager
def _refusals_as_errors() -> Iterator[None]:
    try:
        yield
    except RequestError as error:
        raise ConfigError(error.message) from error


def _seed_sets(seeds: Any) -> tuple[list[dict[str, list[Any]]], Sequence[Any] | None]:
    """The seeds of each request, and the labels of the requests; None for the only one."""
    if isinstance(seeds, pd.DataFrame):
        seeds = seeds.to_numpy()
    leaf = _first_leaf(seeds)
    name, depth = ("vectors", 2) if isinstance(leaf, float | np.floating) else ("item_ids", 1)
    found = _depth(seeds)
    if found not in (depth, depth + 1):
        shape = "[m, d], or [n, m, d] of many seed sets" if depth == 2 else "[m], or [n, m] of many seed sets"
        raise ConfigError(f"seeds are nested {found} deep; allowed are {name} {shape}")
    several = found > depth
    return [{name: plain(each)} for each in (seeds if several else [seeds])], _labels(seeds) if several else None


def _labels(requests: Any) -> Sequence[Any]:
    return requests.index.tolist() if isinstance(requests, pd.Series) else range(len(requests))


def _depth(value: Any) -> int:
    """How deep a list, array or Series is nested; 0 for a single value."""
    if not pd.api.types.is_list_like(value):
        return 0
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.ndim
    return 1 + max((_depth(each) for each in value), default=0)


def _first_leaf(value: Any) -> Any:
    while pd.api.types.is_list_like(value):
        value = next(iter(value), None)
    return value


def plain(value: Any) -> Any:
    """Arrays, Series and their numbers as the lists and numbers of Python, also inside of a dictionary."""
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if pd.api.types.is_list_like(value):
        return value.tolist() if isinstance(value, np.ndarray) and value.dtype != object else [plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value
