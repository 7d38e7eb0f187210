"""Requests and answers as JSON, and the refusal of a request."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

_LONGEST_SHOWN = 120


class RequestError(HTTPException):
    """A request that is refused.

    Attributes:
        field: of the request, dotted.
        value: that is refused, as text.
        allowed: instead.
    """

    def __init__(
        self, field: str, value: Any, allowed: str, status: int = 422, headers: dict[str, str] | None = None
    ) -> None:
        self.field, self.value, self.allowed = field, shown(value), allowed
        super().__init__(status, f"{field} is {self.value}; allowed: {allowed}", headers)

    def within(self, place: str) -> RequestError:
        """The same of a part of a larger request, at `place`."""
        self.field = place + self.field
        return self


# Lists stop at their first wrong element: there may be a million of them.
Vector = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(fail_fast=True)]


class Refusal(BaseModel):
    """Why a request was refused.

    Attributes:
        field: of the request, dotted.
        value: that is refused, as text, shortened.
        allowed: instead.
    """

    field: str
    value: str
    allowed: str


class Refusals(BaseModel):
    """The body of every answer that is not a success."""

    errors: list[Refusal]


class Seeds(BaseModel):
    """The seeds: ids of items of the index, or vectors."""

    model_config = ConfigDict(extra="forbid", strict=True)

    item_ids: list[str] | None = Field(None, fail_fast=True, description="never among the answers")
    vectors: list[Vector] | None = Field(
        None, fail_fast=True, description="of the index's dimension and of any length in 1e-6..1e6"
    )


class Filter(BaseModel):
    """Which items may be answers: those with all that `include` says, and with nothing that `exclude` says."""

    model_config = ConfigDict(extra="forbid", strict=True)

    include: dict[str, bool | str] = Field(
        default={}, description="attr_DOMAIN: true or false; title: text that it contains"
    )
    exclude: dict[str, bool | str] = Field(default={}, description="the same")


class RetrieveRequest(BaseModel):
    """What a caller asks."""

    model_config = ConfigDict(extra="forbid", strict=True)

    domain: str
    seeds: Seeds
    k: int = Field(10, description="items wanted")
    guidance: float | None = Field(None, allow_inf_nan=False, description="by default the one chosen on validation")
    samples: int | None = Field(None, description="averaged into the query: a multiple of what the sampler averages")
    exclude_item_ids: list[str] = Field(
        [], fail_fast=True, description="never among the answers; ids that are unknown do not matter"
    )
    filter: Filter = Field(default_factory=Filter, description="by columns of the catalogue")
    return_query: bool = False


class RetrievedItem(BaseModel):
    """An item and its inner product with the query."""

    item_id: str
    score: float
    title: str | None = None


class RetrieveAnswer(BaseModel):
    """The items, best first, and what answered."""

    items: list[RetrievedItem]
    query: list[float] | None = None
    domain: str
    model: str
    version: int
    alias: str
    precision: str
    index_digest: str


def shown(value: Any) -> str:
    """A value as text of bounded length and of printable ASCII."""
    text = ascii(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


class BatchRequest(BaseModel):
    """Several requests at once."""

    model_config = ConfigDict(extra="forbid", strict=True)

    requests: list[RetrieveRequest] = Field(fail_fast=True)


class BatchAnswer(BaseModel):
    """Their answers, in their order."""

    answers: list[RetrieveAnswer]
