"""Requests and answers of the API as JSON, and the refusal of a request.

What every task has in common (which items may be results, how many, which version answered) is in `ItemsRequest` and
`ItemsAnswer`. A task adds what its caller gives: `RetrieveRequest` a domain and seeds, `RecommendRequest` a session,
`SearchRequest` a text.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.exceptions import HTTPException

_LONGEST_SHOWN = 120
UNKNOWN = "unknown"


class Refusal(BaseModel):
    """Why a request was refused."""

    field: str = Field(description="Field of the request, dotted.")
    value: str = Field(description="The value that is refused, as text, shortened.")
    allowed: str = Field(description="What is allowed instead.")
    message: str = Field(description="The same as one sentence, for people.")


class Refusals(BaseModel):
    """The body of every answer that is not a success."""

    errors: list[Refusal]


class RequestError(HTTPException):
    """A request is refused, for the reason that its `Refusal` gives."""

    def __init__(
        self,
        field: str,
        value: Any,
        allowed: str,
        status: int = 422,
        headers: dict[str, str] | None = None,
        message: str | None = None,
    ) -> None:
        self.field, self.value, self.allowed, self._message = field, shown(value), allowed, message
        super().__init__(status, self.message, headers)

    @property
    def message(self) -> str:
        """What is wrong, as one sentence."""
        return self._message or f"The {self.field} cannot be {self.value}; allowed: {self.allowed}."

    @property
    def refusal(self) -> Refusal:
        """What is wrong, for programs and people."""
        return Refusal(field=self.field, value=self.value, allowed=self.allowed, message=self.message)


def expect_range(field: str, value: float, least: float, most: float) -> None:
    """Refuses a value outside of a range by a RequestError."""
    if not least <= value <= most:
        raise RequestError(field, value, f"{least:g}..{most:g}")


def retry_after(seconds: float) -> dict[str, str]:
    """The header that tells a client when to ask again: in whole seconds, at least one."""
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


def shown(value: Any) -> str:
    """A value as text of bounded length, in printable ASCII."""
    text = ascii(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


# Ids are text inside; a caller may give integers, as the catalogue may.
ItemId = Annotated[str, BeforeValidator(_as_text, json_schema_input_type=str | int)]
# Lists stop at their first wrong element: there may be a million of them.
Vector = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(fail_fast=True)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Filter(_Strict):
    """Which items may be results: those that satisfy every condition of `include` and none of `exclude`."""

    include: dict[str, bool | str] = Field(
        default={},
        description='Column of the catalogue to wanted value. `attr_DOMAIN` takes true, false or "unknown" (the '
        "scorer has not judged the item); `title` takes a text that the title must contain, in upper or lower case.",
    )
    exclude: dict[str, bool | str] = Field(default={}, description="Columns and values as in `include`.")


class ItemsRequest(_Strict):
    """What every request for items may say."""

    k: int = Field(10, description="How many items are wanted.")
    exclude_item_ids: list[ItemId] = Field(
        [], fail_fast=True, description="Items that must not be results. Unknown ids are ignored."
    )
    filter: Filter = Field(default_factory=Filter, description="Conditions on columns of the catalogue.")


class Seeds(_Strict):
    """The seeds, either by id or as vectors."""

    item_ids: list[ItemId] | None = Field(
        None, fail_fast=True, description="Ids of items. Seeds are never among the results."
    )
    vectors: list[Vector] | None = Field(
        None, fail_fast=True, description="Vectors of the index's dimension; each length must be in 1e-6..1e6."
    )


class RetrieveRequest(ItemsRequest):
    """Asks for items that have the attribute of the domain and are like the seeds."""

    domain: str = Field(description="The attribute that results should have; one of the served domains.")
    seeds: Seeds
    return_query: bool = Field(False, description="Whether the answer contains the query vector.")
    guidance: float | None = Field(
        None,
        allow_inf_nan=False,
        description="How strongly the query is moved towards the attribute. Default: the scale that was best on the "
        "validation split.",
    )
    samples: int | None = Field(
        None, description="How many generated vectors are averaged into the query: a multiple of the sampler's own."
    )
    rerank: bool | None = Field(
        None,
        description="Whether a longer list is fetched and reordered by how likely its items have the attribute and lie "
        "in the pattern. Default: yes, unless it was clearly worse on validation.",
    )


class RecommendRequest(ItemsRequest):
    """Asks for items that are likely to be next in a session."""

    session: list[ItemId] = Field(
        fail_fast=True,
        description="Ids of the items of the session, oldest first; an empty list asks for likely first items. Unknown "
        "ids are left out, and the answer names them; a session of which no id is known is refused. Of a session that "
        "is longer than the model reads, the last items count.",
    )
    repeat: bool | None = Field(
        None,
        description="Whether items of the session may be results. Default: as the version was judged, which is yes "
        "where at least 1 % of the sessions of its catalogue take an item again.",
    )


class SearchRequest(ItemsRequest):
    """Asks for items that a text describes."""

    text: str = Field(
        description="What is searched for, with a letter or digit. Case, accents and punctuation do not count; of a "
        "text that is longer than the model reads, the first words count."
    )


class FanOutRequest(ItemsRequest):
    """Asks for a varied set of items that an intent describes."""

    text: str = Field(
        description='The intent, with a letter or digit, such as "snacks for a road trip". Case, accents and '
        "punctuation do not count."
    )
    return_vectors: bool = Field(False, description="Whether the answer contains the vectors of its queries.")


class ResultItem(BaseModel):
    """A result."""

    item_id: str = Field(description="Id of the item.")
    score: float = Field(
        description="What the items are ordered by: the inner product with the query and, in a reranked answer, the "
        "weighted log-probability that the item has the attribute and lies in the pattern added to it."
    )
    verdict: bool | None = Field(
        description="The scorer's stored verdict for the domain: true, false, or null where the item was not scored."
    )
    probability: float | None = Field(
        None,
        description="How likely it has the attribute, 0 to 1, calibrated on validation items, or on verdicts left out "
        "of the fit where nothing is trained; null where the verdict is stored, or the release has no second stage.",
    )
    title: str | None = Field(None, description="Its title, where the catalogue has one.")


class RecommendedItem(BaseModel):
    """An item that is likely to be next."""

    item_id: str = Field(description="Id of the item.")
    score: float = Field(description="What the items are ordered by: log P(item | session), by the model.")
    title: str | None = Field(None, description="Its title, where the catalogue has one.")


class FoundItem(BaseModel):
    """An item that a text describes."""

    item_id: str = Field(description="Id of the item.")
    score: float = Field(
        description="What the items are ordered by: the weighted sum of its BM25, over the best of all items, and of "
        "its cosine by the towers. Scores of other requests cannot be compared with it."
    )
    title: str | None = Field(None, description="Its title, where the catalogue has one.")


class SetItem(BaseModel):
    """An item of a set."""

    item_id: str = Field(description="Id of the item.")
    score: float = Field(
        description="Cosine with the query that it is nearest to, or with the intent. The lists of the queries take "
        "turns, so scores do not fall from item to item."
    )
    query: int | None = Field(
        None, description="Number of that query, from 0; absent where the item is nearest to the intent itself."
    )
    title: str | None = Field(None, description="Its title, where the catalogue has one.")


class SetQuery(BaseModel):
    """One of the queries that a set was searched with."""

    item_id: str | None = Field(description="Id of the item that it finds first; null where nothing may be a result.")
    title: str | None = Field(None, description="Its title, where the catalogue has one.")
    vector: list[float] | None = Field(
        None, description="The unit vector in the text space of the release, if it was asked for."
    )


ItemT = TypeVar("ItemT", bound=BaseModel)


class SeedSource(BaseModel):
    """Where the vectors of the seeds were read."""

    features: int = Field(description="How many come from the online feature store.")
    bundle: int = Field(description="How many come from the catalogue of the bundle.")
    problem: str | None = Field(
        None, description="Why the feature store was not used, where one is configured and was not."
    )


class ItemsAnswer(BaseModel, Generic[ItemT]):
    """Results, best first, and the model version that answered."""

    items: list[ItemT] = Field(
        description="The results, best first; fewer than `k` only if no more items may be results."
    )
    model: str = Field(description='Registered name of the model that answered; "untrained" for none.')
    version: int = Field(description="Version of the model; 0 for none.")
    alias: str = Field(description='Alias that names the version; "untrained" for none.')
    index_digest: str = Field(
        description="Digest of the index that was searched, of the semantic IDs of all items, or of all files of a "
        "retriever by text or intent."
    )


class RetrieveAnswer(ItemsAnswer[ResultItem]):
    """The answer to a request with seeds."""

    query: list[float] | None = Field(None, description="The query vector, if it was asked for.")
    domain: str = Field(description="The domain that was asked for.")
    trained: bool = Field(
        description="False where nothing is trained for the domain, and its verdicts alone answer, with the votes of "
        "trained domains."
    )
    reranked: bool = Field(description="Whether the second stage reordered the items.")
    seed_source: SeedSource | None = Field(
        None, description="Where the vectors of the seeds were read; present where the seeds are ids."
    )


class RecommendAnswer(ItemsAnswer[RecommendedItem]):
    """The answer to a request with a session."""

    items_read: int = Field(description="How many items of the session the model read: its last ones that are known.")
    ignored_item_ids: list[str] = Field(description="Ids of the session that the model does not know, in their order.")


class SearchAnswer(ItemsAnswer[FoundItem]):
    """The answer to a request with a text."""

    words_read: int = Field(description="How many words of the text the model read: its first ones.")
    unknown_words: list[str] = Field(
        description="Words of the text that no title has, in their order. Where that is all of them, the towers answer "
        "alone, by parts of words."
    )


class FanOutAnswer(ItemsAnswer[SetItem]):
    """The answer to a request with an intent."""

    queries: list[SetQuery] = Field(description="What was searched for, beside the intent.")
    words_read: int = Field(description="How many words the intent has.")
    unknown_words: list[str] = Field(
        description="Words of the intent that the release has no vector of, in their order: in no title, in no intent "
        "that it learnt from, and no common words. Where that is all of them, the answer is what is typical of "
        "the catalogue."
    )


R = TypeVar("R", bound=ItemsRequest)
A = TypeVar("A", bound=ItemsAnswer[Any])


class BatchRequest(_Strict, Generic[R]):
    """Several requests at once."""

    requests: list[R] = Field(fail_fast=True)


class BatchAnswer(BaseModel, Generic[A]):
    """The answers to the requests of a batch, in their order."""

    answers: list[A]
