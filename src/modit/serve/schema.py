"""Requests and answers of the API as JSON, and the refusal of a request.

What every task has in common (which items may be results, how many, which version answered) is in `ItemsRequest` and
`ItemsAnswer`. A task adds what its caller gives: `RetrieveRequest` adds seeds.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.exceptions import HTTPException

_LONGEST_SHOWN = 120
UNKNOWN = "unknown"


class RequestError(HTTPException):
    """A request is refused.

    Attributes:
        field: of the request, dotted.
        value: that is refused, as text.
        allowed: what is allowed instead.
        message: the same as one sentence, for people.
    """

    def __init__(
        self,
        field: str,
        value: Any,
        allowed: str,
        status: int = 422,
        headers: dict[str, str] | None = None,
        message: str | None = None,
    ) -> None:
        self.field, self.value, self.allowed = field, shown(value), allowed
        self._message = message
        super().__init__(status, self.message, headers)

    @property
    def message(self) -> str:
        """What is wrong, as one sentence."""
        return self._message or sentence(self.field, self.value, self.allowed)

    def within(self, place: str) -> RequestError:
        """The same refusal, for a request that stands at `place` in a batch."""
        self.field = place + self.field
        return self


def sentence(field: str, value: str, allowed: str) -> str:
    """A refusal as one sentence."""
    return f"The {field} cannot be {value}; allowed: {allowed}."


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


# Ids are text inside; a caller may give integers, as the catalogue may.
ItemId = Annotated[str, BeforeValidator(_as_text, json_schema_input_type=str | int)]
# Lists stop at their first wrong element: there may be a million of them.
Vector = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(fail_fast=True)]


class Refusal(BaseModel):
    """Why a request was refused.

    Attributes:
        field: of the request, dotted.
        value: that is refused, as text, shortened.
        allowed: what is allowed instead.
        message: the same as one sentence, for people.
    """

    field: str
    value: str
    allowed: str
    message: str


class Refusals(BaseModel):
    """The body of every answer that is not a success."""

    errors: list[Refusal]


class Filter(BaseModel):
    """Which items may be results: those that satisfy every condition of `include` and none of `exclude`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    include: dict[str, bool | str] = Field(
        default={},
        description='Column of the catalogue to wanted value. `attr_DOMAIN` takes true, false or "unknown" (the '
        "scorer has not judged the item); `title` takes a text that the title must contain, in upper or lower case.",
    )
    exclude: dict[str, bool | str] = Field(default={}, description="Columns and values as in `include`.")


class ItemsRequest(BaseModel):
    """What every request for items may say."""

    model_config = ConfigDict(extra="forbid", strict=True)

    domain: str = Field(description="The attribute that results should have; one of the served domains.")
    k: int = Field(10, description="How many items are wanted.")
    exclude_item_ids: list[ItemId] = Field(
        [], fail_fast=True, description="Items that must not be results. Unknown ids are ignored."
    )
    filter: Filter = Field(default_factory=Filter, description="Conditions on columns of the catalogue.")
    return_query: bool = Field(False, description="Whether the answer contains the query vector.")


class Seeds(BaseModel):
    """The seeds, either by id or as vectors."""

    model_config = ConfigDict(extra="forbid", strict=True)

    item_ids: list[ItemId] | None = Field(
        None, fail_fast=True, description="Ids of items. Seeds are never among the results."
    )
    vectors: list[Vector] | None = Field(
        None, fail_fast=True, description="Vectors of the index's dimension; each length must be in 1e-6..1e6."
    )


class RetrieveRequest(ItemsRequest):
    """Asks for items that have the attribute of the domain and are like the seeds."""

    seeds: Seeds
    guidance: float | None = Field(
        None,
        allow_inf_nan=False,
        description="How strongly the query is moved towards the attribute. Default: the scale that was best on the "
        "validation split.",
    )
    samples: int | None = Field(
        None, description="How many generated vectors are averaged into the query: a multiple of the sampler's own."
    )


class ResultItem(BaseModel):
    """A result.

    Attributes:
        item_id: its id.
        score: its inner product with the query.
        verdict: the scorer's stored verdict for the domain: true, false, or null where the item was not scored.
        title: its title, where the catalogue has one.
    """

    item_id: str
    score: float
    verdict: bool | None
    title: str | None = None


class SeedSource(BaseModel):
    """Where the vectors of the seeds were read.

    Attributes:
        features: how many come from the online feature store.
        bundle: how many come from the catalogue of the bundle.
        problem: why the feature store was not used, where one is configured and was not.
    """

    features: int
    bundle: int
    problem: str | None = None


class ItemsAnswer(BaseModel):
    """Results, best first, and the model version that answered.

    Attributes:
        items: the results, best first; fewer than `k` only if no more items may be results.
        query: the query vector, if it was asked for.
        domain: that was asked for.
        model: registered name of the model that answered.
        version: of the model.
        alias: that names the version.
        index_digest: of the index that was searched.
    """

    items: list[ResultItem]
    query: list[float] | None = None
    domain: str
    model: str
    version: int
    alias: str
    index_digest: str


class RetrieveAnswer(ItemsAnswer):
    """The answer to a request with seeds.

    Attributes:
        seed_source: where the vectors of the seeds were read; present where the seeds are ids.
    """

    seed_source: SeedSource | None = None


R = TypeVar("R", bound=ItemsRequest)
A = TypeVar("A", bound=ItemsAnswer)


class BatchRequest(BaseModel, Generic[R]):
    """Several requests at once."""

    model_config = ConfigDict(extra="forbid", strict=True)

    requests: list[R] = Field(fail_fast=True)


class BatchAnswer(BaseModel, Generic[A]):
    """The answers to the requests of a batch, in their order."""

    answers: list[A]


def shown(value: Any) -> str:
    """A value as text of bounded length, in printable ASCII."""
    text = ascii(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
