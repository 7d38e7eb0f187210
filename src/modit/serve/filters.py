"""Filters: which items a caller wants at all, as a mask over the rows of the index."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modit.inference.items import TITLE, Items
from modit.serve.schema import Filter, RequestError
from modit.serve.settings import Limits

_KEPT = 64  # masks, a bit an item each

Condition = tuple[bool, str, bool | str]  # include or exclude, column, value


class Filters:
    """The filters over one catalogue; the masks of the last ones are kept, packed."""

    def __init__(self, columns: Mapping[str, pa.ChunkedArray]) -> None:
        """Args: `columns` that may be asked for, [N] each: booleans, and `title`."""
        self._columns, self._lock = dict(columns), threading.Lock()
        self._masks: OrderedDict[tuple[Condition, ...], np.ndarray] = OrderedDict()

    def mask(self, wanted: Filter, limits: Limits) -> np.ndarray | None:
        """Bool [N], true where an item has all that `include` says and nothing that `exclude` says; None for all items.

        Raises:
            RequestError: there is no such column, or the value is not of its kind.
        """
        given = [
            (keep, each) for keep, part in ((True, wanted.include), (False, wanted.exclude)) for each in part.items()
        ]
        if len(given) > limits.conditions:
            raise RequestError("number of filter conditions", len(given), f"0..{limits.conditions}")
        conditions = tuple(sorted(self._checked(keep, *each, limits) for keep, each in given))
        if not conditions:
            return None
        with self._lock:
            packed = self._masks.get(conditions)
        if packed is None:
            packed = np.packbits(np.logical_and.reduce([self._holds(*each) for each in conditions]))
        with self._lock:
            self._masks[conditions] = packed
            self._masks.move_to_end(conditions)
            if len(self._masks) > _KEPT:
                self._masks.popitem(last=False)
        return np.unpackbits(packed, count=len(self._columns[conditions[0][1]])).astype(bool)

    def _checked(self, keep: bool, column: str, value: bool | str, limits: Limits) -> Condition:
        field = f"filter.{'include' if keep else 'exclude'}.{column}"
        if column not in self._columns:
            raise RequestError(field, value, f"columns {', '.join(sorted(self._columns)) or '(there are none)'}")
        if column != TITLE:
            if not isinstance(value, bool):
                raise RequestError(field, value, "true or false")
            return keep, column, value
        if not (isinstance(value, str) and 0 < len(value) <= limits.text and _is_utf8(value)):
            raise RequestError(field, value, f"a part of the title, 1..{limits.text} characters of UTF-8")
        return keep, column, value

    def _holds(self, keep: bool, column: str, value: bool | str) -> np.ndarray:
        values = self._columns[column]
        found = containing(values, value) if isinstance(value, str) else pc.equal(values, value)
        return pc.fill_null(found, False).to_numpy() == keep


_of_items: WeakKeyDictionary[Items, Filters] = WeakKeyDictionary()


def filters_of(items: Items) -> Filters:
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
