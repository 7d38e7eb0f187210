"""Edges follow from names; declarations that do not fit together are refused by name."""

from __future__ import annotations

import pytest

from modit.core.errors import GraphError
from modit.core.registry import resolve_edges, topological_order
from modit.core.step import Step

SOURCE = Step("source", outputs=("a",))
MIDDLE = Step("middle", inputs=("a",), outputs=("b", "c"))
SINK = Step("sink", inputs=("a", "c"), outputs=("d",))


def test_an_input_finds_the_step_whose_output_bears_its_name():
    assert resolve_edges([SINK, MIDDLE, SOURCE]) == {("source", "middle"), ("source", "sink"), ("middle", "sink")}


def test_the_order_puts_every_step_after_what_it_reads():
    assert topological_order([SINK, MIDDLE, SOURCE]) == [SOURCE, MIDDLE, SINK]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([MIDDLE], "'middle' reads 'a', which no step writes"),
        ([SOURCE, Step("other", outputs=("a",))], "'a' is written by 'source' and by 'other'"),
        ([SOURCE, SOURCE], "declared twice: source"),
        ([Step("x", ("b",), ("a",)), Step("y", ("a",), ("b",))], "cycle: "),
    ],
)
def test_declarations_that_do_not_fit_are_refused(steps, message):
    with pytest.raises(GraphError, match=message):
        topological_order(steps)


@pytest.mark.parametrize("arguments", [{"name": "Bad-name", "outputs": ("a",)}, {"name": "good"}])
def test_a_step_without_a_proper_name_or_output_is_refused(arguments):
    with pytest.raises(ValueError, match="allowed|at least one"):
        Step(**arguments)
