"""How much a client may ask for: a token bucket each."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from modit.serve.schema import RequestError

_CLIENTS = 10_000  # remembered; one that is forgotten starts anew


class RateLimit:
    """So many requests a second of each client, and at once what a second brings. For one thread, the event loop."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Args: `rate` in requests a second, > 0; `clock` in seconds."""
        self._rate, self._most, self._clock = rate, max(1.0, rate), clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when

    def take(self, client: str, count: int = 1) -> float:
        """Takes `count` requests out of a client's bucket, or none of them.

        More than fit into a bucket are given when it is full, and leave a debt.

        Returns:
            0.0, or the seconds after which there are enough.
        """
        now = self._clock()
        tokens, since = self._buckets.pop(client, (self._most, now))
        tokens = min(self._most, tokens + (now - since) * self._rate)
        lacking = min(count, self._most) - tokens
        self._buckets[client] = (tokens if lacking > 0 else tokens - count, now)
        if len(self._buckets) > _CLIENTS:
            self._buckets.popitem(last=False)
        return max(0.0, lacking / self._rate)

    def spend(self, client: str, count: int = 1) -> None:
        """The same, for a request.

        Raises:
            RequestError: 429, there are not enough.
        """
        if seconds := self.take(client, count):
            later = {"Retry-After": str(max(1, math.ceil(seconds)))}
            raise RequestError("requests of this client", "too many", f"{self._rate:g} a second", 429, later)
