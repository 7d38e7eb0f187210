"""Filters: which items may be results, as a mask over the rows of the index."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modit.inference.items import TITLE, ItemTable
from modit.serve.schema import UNKNOWN, Filter, RequestError
from modit.serve.settings import Limits

_KEPT = 64  # masks, a bit an item each

Condition = tuple[bool, str, bool | str]  # include or exclude, column, value


class Filters:
    """The filters over one catalogue. The masks of the last 64 filters are kept, one bit for each item."""

    def __init__(self, columns: Mapping[str, pa.ChunkedArray]) -> None:
        """Binds the filters to a catalogue.

        Args:
            columns: that may be asked for, [N] each: booleans with nulls, and `title`.
        """
        self._columns, self._packed = dict(columns), lru_cache(_KEPT)(self._find)

    def mask(self, wanted: Filter, limits: Limits) -> np.ndarray | None:
        """Which items satisfy a filter.

        A null satisfies no condition but "unknown".

        Args:
            wanted: conditions of a request.
            limits: of a request.

        Returns:
            bool [N], true where an item satisfies all of `include` and none of `exclude`; None for all items.

        Raises:
            RequestError: there is no such column, or the value is not of its kind.
        """
        given = [(True, *each) for each in wanted.include.items()] + [(False, *each) for each in wanted.exclude.items()]
        if not given:
            return None
        if len(given) > limits.conditions:
            raise RequestError("number of filter conditions", len(given), f"0..{limits.conditions}")
        for condition in given:
            self._check(*condition, limits)
        packed = self._packed(tuple(sorted(given, key=repr)))  # a value may be a boolean or a text
        return np.unpackbits(packed, count=len(self._columns[given[0][1]])).astype(bool)

    def _check(self, keep: bool, column: str, value: bool | str, limits: Limits) -> None:
        field = f"filter.{'include' if keep else 'exclude'}.{column}"
        if column not in self._columns:
            raise RequestError(field, value, f"columns {', '.join(sorted(self._columns)) or '(there are none)'}")
        if column != TITLE:
            if not isinstance(value, bool) and value != UNKNOWN:
                raise RequestError(field, value, f'true, false or "{UNKNOWN}"')
        elif not (isinstance(value, str) and 0 < len(value) <= limits.text and _is_utf8(value)):
            raise RequestError(field, value, f"a part of the title, 1..{limits.text} characters of UTF-8")

    def _find(self, conditions: tuple[Condition, ...]) -> np.ndarray:
        return np.packbits(np.logical_and.reduce([self._holds(*each) for each in conditions]))

    def _holds(self, keep: bool, column: str, value: bool | str) -> np.ndarray:
        values = self._columns[column]
        if isinstance(value, bool):
            found = pc.equal(values, value)
        else:
            found = containing(values, value) if column == TITLE else pc.is_null(values)
        return pc.fill_null(found, False).to_numpy() == keep


_of_items: WeakKeyDictionary[ItemTable, Filters] = WeakKeyDictionary()


def filters_of(items: ItemTable) -> Filters:
    """The filters over a catalogue; they go with it."""
    return _of_items.setdefault(items, Filters(items.columns))


def containing(titles: pa.ChunkedArray, text: str) -> pa.ChunkedArray:
    """Whether each title [N] has the text in it, in upper or lower case; null for one that is null."""
    return pc.match_substring(titles, text, ignore_case=True)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
