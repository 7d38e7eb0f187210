"""What the graph of a sampler takes and gives. Export, runtime and packages have it from here."""

from __future__ import annotations

from typing import NamedTuple

INPUTS = ("seeds", "mask", "noise", "guidance")
OUTPUT = "query"
FLOAT, BOOL = "float32", "bool"


class Value(NamedTuple):
    """An input or the output.

    Attributes:
        name: in the graph.
        kind: `FLOAT` or `BOOL`.
        dims: of each axis its size, or a name where it differs from call to call. The first is the batch; that of
            guidance has a name of its own, since one scale may be for all rows.
    """

    name: str
    kind: str
    dims: tuple[str | int, ...]


def inputs(dimension: int) -> tuple[Value, ...]:
    """Those of a sampler over embeddings of this width, in the order of `INPUTS`."""
    kinds = (FLOAT, BOOL, FLOAT, FLOAT)
    dims = (("batch", "count", dimension), ("batch", "count"), ("batch", dimension), ("scales",))
    return tuple(Value(*each) for each in zip(INPUTS, kinds, dims, strict=True))


def output(dimension: int) -> Value:
    """The queries."""
    return Value(OUTPUT, FLOAT, ("batch", dimension))
