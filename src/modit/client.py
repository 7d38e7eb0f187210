"""A client of the retrieval service. It needs nothing but the standard library.

client = Client("http://localhost:8000", key="...")
for item in client.retrieve("popular", ["item-1", "item-2"], k=5).items: ...
for item in client.recommend(["item-1", "item-2"], k=5).items: ...
for item in client.search("red paint", k=5).items: ...
for item in client.fan_out("snacks for a road trip", k=12).items: ...
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from modit.core.errors import ModitError

Seeds = Sequence[str | int] | Sequence[Sequence[float]]
KEY_VARIABLE = "MODIT_API_KEY"
_LATER = (429, 503)
_LONGEST_PAUSE = 60.0


class ServiceError(ModitError):
    """The service refused a request, or did not answer.

    Attributes:
        status: of the answer; 0 if there was none.
        refusals: `field`, `value`, `allowed` and `message` of each thing that is wrong.
    """

    def __init__(self, status: int, refusals: Sequence[Mapping[str, str]], said: str = "") -> None:
        self.status, self.refusals = status, tuple(refusals)
        super().__init__(" ".join(each["message"] for each in refusals) or said)


@dataclass(frozen=True)
class Item:
    """An item of an answer.

    Attributes:
        item_id: its id.
        score: what the items are ordered by: its inner product with the query, and a weighted log-probability if
            reranked.
        verdict: the scorer's stored verdict for the domain; None where the item was not scored.
        title: its title, where the catalogue has one.
        probability: how likely it has the attribute, in [0, 1]; None where the verdict is stored, or nothing tells.
    """

    item_id: str
    score: float
    verdict: bool | None = None
    title: str | None = None
    probability: float | None = None


@dataclass(frozen=True)
class Answer:
    """What the service answers.

    Attributes:
        items: best first.
        domain: asked for.
        model: that answered.
        version: of the model.
        alias: that named the version.
        index_digest: of the index that was searched.
        query: the generated query [d], if it was asked for.
        seed_source: how many seeds came from the feature store (`features`) and from the bundle (`bundle`), and why
            the store was not used (`problem`); None where seeds were vectors.
        reranked: whether a second stage reordered the items.
        trained: False where nothing is trained for the domain, and its verdicts alone answer; model, version and alias
            then name none.
    """

    items: tuple[Item, ...]
    domain: str
    model: str
    version: int
    alias: str
    index_digest: str
    query: tuple[float, ...] | None = None
    seed_source: Mapping[str, Any] | None = None
    reranked: bool = False
    trained: bool = True

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Answer:
        """Reads the JSON of an answer; fields that a later service adds are ignored."""
        optional = ("verdict", "title", "probability")
        items = tuple(
            Item(each["item_id"], each["score"], **{name: each.get(name) for name in optional})
            for each in content["items"]
        )
        query = tuple(content["query"]) if content.get("query") else None
        facts = {name: content[name] for name in ("domain", "model", "version", "alias", "index_digest")}
        facts |= {"seed_source": content.get("seed_source"), "reranked": content.get("reranked", False)}
        facts["trained"] = content.get("trained", True)
        return cls(items=items, query=query, **facts)


@dataclass(frozen=True)
class RankedItem:
    """An item that is likely to be next, or that a text describes.

    Attributes:
        item_id: its id.
        score: what items are ordered by: log P(item | session) by the model, or what a search
            makes of words and vectors.
        title: its title, where the catalogue has one.
    """

    item_id: str
    score: float
    title: str | None = None


@dataclass(frozen=True)
class Recommendations:
    """What the service answers to a session.

    Attributes:
        items: best first.
        model: that answered.
        version: of the model.
        alias: that named the version.
        index_digest: of the semantic IDs of all items.
        items_read: how many items of the session the model read, its last ones that are known.
        ignored_item_ids: ids of the session that the model does not know.
    """

    items: tuple[RankedItem, ...]
    model: str
    version: int
    alias: str
    index_digest: str
    items_read: int
    ignored_item_ids: tuple[str, ...] = ()

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Recommendations:
        """Reads the JSON of an answer; fields that a later service adds are ignored."""
        facts = {name: content[name] for name in (*_VERSION_FIELDS, "items_read")}
        ignored = tuple(content.get("ignored_item_ids", ()))
        return cls(items=_ranked(content), ignored_item_ids=ignored, **facts)


@dataclass(frozen=True)
class Found:
    """What the service answers to a text.

    Attributes:
        items: best first.
        model: that answered.
        version: of the model.
        alias: that named the version.
        index_digest: of the files that were searched.
        words_read: how many words of the text the model read, its first ones.
        unknown_words: words of the text that no title has.
    """

    items: tuple[RankedItem, ...]
    model: str
    version: int
    alias: str
    index_digest: str
    words_read: int
    unknown_words: tuple[str, ...] = ()

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Found:
        """Reads the JSON of an answer; fields that a later service adds are ignored."""
        facts = {name: content[name] for name in (*_VERSION_FIELDS, "words_read")}
        return cls(items=_ranked(content), unknown_words=tuple(content.get("unknown_words", ())), **facts)


@dataclass(frozen=True)
class SetQuery:
    """One of the queries that a set was searched with.

    Attributes:
        item_id: of the item that it finds first; None where nothing may be a result.
        title: of that item, where the catalogue has one.
        vector: the unit vector, if it was asked for.
    """

    item_id: str | None
    title: str | None = None
    vector: tuple[float, ...] | None = None


@dataclass(frozen=True)
class FoundSet:
    """What the service answers to an intent.

    Attributes:
        items: the set; lists of the queries take turns.
        queries: number of the query that each item is nearest to, None where that is the intent.
        searched: the queries.
        model: that answered.
        version: of the model.
        alias: that named the version.
        index_digest: of the files that were searched.
        words_read: how many words the intent has.
        unknown_words: words of the intent that the release has no vector of.
    """

    items: tuple[RankedItem, ...]
    queries: tuple[int | None, ...]
    searched: tuple[SetQuery, ...]
    model: str
    version: int
    alias: str
    index_digest: str
    words_read: int
    unknown_words: tuple[str, ...] = ()

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> FoundSet:
        """Reads the JSON of an answer; fields that a later service adds are ignored."""
        facts = {name: content[name] for name in (*_VERSION_FIELDS, "words_read")}
        searched = tuple(
            SetQuery(each["item_id"], each.get("title"), tuple(each["vector"]) if each.get("vector") else None)
            for each in content["queries"]
        )
        queries = tuple(each.get("query") for each in content["items"])
        unknown = tuple(content.get("unknown_words", ()))
        return cls(_ranked(content), queries, searched, unknown_words=unknown, **facts)


_VERSION_FIELDS = ("model", "version", "alias", "index_digest")


def _ranked(content: Mapping[str, Any]) -> tuple[RankedItem, ...]:
    return tuple(RankedItem(each["item_id"], each["score"], each.get("title")) for each in content["items"])


class Client:
    """Asks one service. Safe to use from several threads."""

    def __init__(self, url: str, key: str | None = None, timeout: float = 30.0, retries: int = 3) -> None:
        """Prepares to ask; connects at each call.

        Args:
            url: of the service, with the path under which a proxy serves it.
            key: API key or token.
            timeout: of a call, in seconds.
            retries: how often a call is repeated that the service is too busy for, after the pause that it names.
        """
        self._url, self._timeout, self._retries = url.rstrip("/"), timeout, retries
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})

    def retrieve(self, domain: str, seeds: Seeds, k: int = 10, **more: Any) -> Answer:
        """Asks for items that have the attribute of the domain and are like the seeds.

        Args:
            domain: the attribute.
            seeds: ids of items, or vectors [m, d].
            k: items wanted.
            **more: `guidance`, `samples`, `rerank`, `exclude_item_ids`, `filter`, `return_query`; see
                docs/reference/http-api.md.

        Raises:
            ServiceError: the request was refused, or there was no answer.
        """
        return Answer.of(self._call("/v1/retrieve", request(domain, seeds, k, **more)))

    def retrieve_batch(self, requests: Sequence[Mapping[str, Any]]) -> list[Answer]:
        """Asks several requests at once, each made by `request`.

        Raises:
            ServiceError: one of them was refused, or there was no answer.
        """
        found = self._call("/v1/retrieve/batch", {"requests": list(requests)})
        return [Answer.of(each) for each in found["answers"]]

    def recommend(self, session: Sequence[str | int], k: int = 10, **more: Any) -> Recommendations:
        """Asks for items that are likely to be next in a session.

        Args:
            session: ids of its items, oldest first; an empty one asks for likely first items.
            k: items wanted.
            **more: `exclude_item_ids`, `filter`, `repeat`; see docs/reference/http-api.md.

        Raises:
            ServiceError: the request was refused, or there was no answer.
        """
        return Recommendations.of(self._call("/v1/recommend", session_request(session, k, **more)))

    def recommend_batch(self, requests: Sequence[Mapping[str, Any]]) -> list[Recommendations]:
        """Asks several requests at once, each made by `session_request`.

        Raises:
            ServiceError: one of them was refused, or there was no answer.
        """
        found = self._call("/v1/recommend/batch", {"requests": list(requests)})
        return [Recommendations.of(each) for each in found["answers"]]

    def search(self, text: str, k: int = 10, **more: Any) -> Found:
        """Asks for items that a text describes.

        Args:
            text: what is searched for.
            k: items wanted.
            **more: `exclude_item_ids`, `filter`; see docs/reference/http-api.md.

        Raises:
            ServiceError: the request was refused, or there was no answer.
        """
        return Found.of(self._call("/v1/search", text_request(text, k, **more)))

    def search_batch(self, requests: Sequence[Mapping[str, Any]]) -> list[Found]:
        """Asks several requests at once, each made by `text_request`.

        Raises:
            ServiceError: one of them was refused, or there was no answer.
        """
        found = self._call("/v1/search/batch", {"requests": list(requests)})
        return [Found.of(each) for each in found["answers"]]

    def fan_out(self, text: str, k: int = 10, **more: Any) -> FoundSet:
        """Asks for a varied set of items that an intent describes.

        Args:
            text: the intent.
            k: items wanted.
            **more: `exclude_item_ids`, `filter`, `return_vectors`; None counts as not given.

        Raises:
            ServiceError: the request was refused, or there was no answer.
        """
        return FoundSet.of(self._call("/v1/fan_out", text_request(text, k, **more)))

    def fan_out_batch(self, requests: Sequence[Mapping[str, Any]]) -> list[FoundSet]:
        """Asks several requests at once, each made by `text_request`.

        Raises:
            ServiceError: one of them was refused, or there was no answer.
        """
        found = self._call("/v1/fan_out/batch", {"requests": list(requests)})
        return [FoundSet.of(each) for each in found["answers"]]

    def readiness(self) -> dict[str, Any]:
        """Asks which version answers for which domain.

        Raises:
            ServiceError: nothing is ready yet, or there was no answer.
        """
        return self._call("/readyz", None)

    def _call(self, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        for attempt in range(self._retries + 1):
            content = None if body is None else json.dumps(body).encode()
            asked = urllib.request.Request(self._url + path, content, self._headers)
            try:
                with urllib.request.urlopen(asked, timeout=self._timeout) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                later = error.headers.get("Retry-After", "")
                if error.code not in _LATER or not later.isdecimal() or attempt == self._retries:
                    raise _refused(error) from error
                time.sleep(min(float(later), _LONGEST_PAUSE))
            except (OSError, ValueError) as error:
                raise ServiceError(0, [], f"{self._url} does not answer: {error}") from error
        raise AssertionError("the last attempt returns or raises")


def request(domain: str, seeds: Seeds, k: int = 10, **more: Any) -> dict[str, Any]:
    """Makes a request as the service takes it; the arguments are those of `Client.retrieve`."""
    by_id = all(isinstance(seed, str | int) for seed in seeds)
    vectors = () if by_id else cast("Sequence[Sequence[float]]", seeds)
    given: dict[str, Any] = {"item_ids": list(seeds)} if by_id else {"vectors": [list(map(float, v)) for v in vectors]}
    return {"domain": domain, "seeds": given, "k": k} | _given(more)


def session_request(session: Sequence[str | int], k: int = 10, **more: Any) -> dict[str, Any]:
    """Makes a request as the service takes it; the arguments are those of `Client.recommend`."""
    return {"session": list(session), "k": k} | _given(more)


def text_request(text: str, k: int = 10, **more: Any) -> dict[str, Any]:
    """Makes a request as the service takes it; the arguments are those of `Client.search` or `fan_out`."""
    return {"text": text, "k": k} | _given(more)


def _given(more: Mapping[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in more.items() if each is not None}


def table(answer: Answer) -> str:
    """Words an answer for people: the version that answered, then one line for each item.

    An item has `yes` or `no` where the scorer's verdict is stored, and how likely it has the attribute where it is not.
    """
    width = max((len(item.item_id) for item in answer.items), default=0)
    index = f"index {answer.index_digest[:12]}{', reranked' if answer.reranked else ''}"
    model = f"{answer.model} version {answer.version} ({answer.alias})"
    lines = [f"{model if answer.trained else f'{answer.domain} before training'}, {index}"]
    for rank, item in enumerate(answer.items, 1):
        attribute, title = _attribute(item), item.title or ""
        lines.append(f"{rank:4}  {item.score:+.4f}  {attribute:>5}  {item.item_id:{width}}  {title}".rstrip())
    return "\n".join(lines)


def ranked_table(answer: Recommendations | Found | FoundSet) -> str:
    """Words an answer for people: the version that answered, what it does not know, then one line for each item."""
    width = max((len(item.item_id) for item in answer.items), default=0)
    if isinstance(answer, Found | FoundSet):
        read, unknown = f"{answer.words_read} words read", answer.unknown_words
    else:
        read, unknown = f"{answer.items_read} items of the session read", answer.ignored_item_ids
    lines = [f"{answer.model} version {answer.version} ({answer.alias}), {read}"]
    if unknown:
        lines.append(f"not known: {', '.join(unknown)}")
    queries = _of_queries(answer) if isinstance(answer, FoundSet) else [""] * len(answer.items)
    for rank, (item, query) in enumerate(zip(answer.items, queries, strict=True), 1):
        lines.append(f"{rank:4}  {item.score:+.4f}  {query}{item.item_id:{width}}  {item.title or ''}".rstrip())
    return "\n".join(lines)


def _of_queries(answer: FoundSet) -> list[str]:
    """The query of each item of a set, as a column."""
    return [f"{'intent' if number is None else f'query {number}':8}  " for number in answer.queries]


def _attribute(item: Item) -> str:
    if item.verdict is not None:
        return "yes" if item.verdict else "no"
    return "?" if item.probability is None else f"{100 * item.probability:.0f}%"


def _refused(error: urllib.error.HTTPError) -> ServiceError:
    said = error.read()
    try:
        return ServiceError(error.code, json.loads(said)["errors"])
    except (ValueError, KeyError, TypeError):
        return ServiceError(error.code, [], f"{error.url} answered {error.code} {error.reason}")
