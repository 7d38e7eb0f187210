"""How a task of the API is answered.

A task (`Task`) reads its requests, searches, and words the answers. Everything else (which release answers, batches,
the log of requests, the access log) is in `service.py`, once for all tasks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from modit.release.bundle.release import Release
from modit.serve.schema import ItemsAnswer, ItemsRequest, RequestError, RetrieveRequest

if TYPE_CHECKING:
    from modit.inference.retrieval import SearchResult

R = TypeVar("R", bound=ItemsRequest)
A = TypeVar("A", bound=ItemsAnswer[Any])
A_co = TypeVar("A_co", bound=ItemsAnswer[Any], covariant=True)
L = TypeVar("L", bound=Release)
L_contra = TypeVar("L_contra", bound=Release, contravariant=True)


@dataclass(frozen=True)
class Placed(Generic[R]):
    """A request and its place in the call, such as `requests.3.` of a batch."""

    request: R
    place: str = ""

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """Puts the place before the field of a refusal."""
        try:
            yield
        except RequestError as error:
            error.field = self.place + error.field
            raise


@dataclass(frozen=True)
class TaskQuery(Generic[R]):
    """A request that was read against the release that will answer it.

    Attributes:
        request: as it came.
        size: how many inputs it has, such as seeds.
        anchors: items, id and row, whose neighbours the log of requests may ask for.
    """

    request: R
    size: int
    anchors: list[tuple[str, int]]


Q = TypeVar("Q", bound=TaskQuery)


class Task(Protocol[R, Q, A_co, L_contra]):
    """One kind of request: what its caller gives, and how it is searched for."""

    def read(self, placed: Sequence[Placed[R]], release: L_contra) -> list[Q]:
        """Reads requests of one domain against the release that will answer; raises RequestError."""
        ...

    def search(self, queries: Sequence[Q], release: L_contra) -> list[SearchResult]:
        """Searches for all of them at once."""
        ...

    def answer(self, query: Q, result: SearchResult, release: L_contra) -> A_co:
        """Makes the answer for the caller."""
        ...


def domain_of(request: ItemsRequest, answered_by: type[Release]) -> str:
    """The domain whose release answers a request: the one that it names, or what stands for one.

    Args:
        request: of any task.
        answered_by: the releases that can answer it.
    """
    return answered_by.kind.name or cast(RetrieveRequest, request).domain
