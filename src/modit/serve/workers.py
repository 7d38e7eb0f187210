"""The threads that answer: so many at a time, so many waiting, none for longer than the caller waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

from modit.index.exact import search_threads
from modit.serve.schema import RequestError

T = TypeVar("T")
_RETRY_SECONDS = 1


class Workers:
    """A pool with a bounded queue. Leaving its context waits for the work that has begun, and drops the rest."""

    def __init__(self, threads: int, waiting: int, seconds: float) -> None:
        """Args: `threads` at work at the same time; `waiting` more at most; `seconds` that a caller waits."""
        self._most, self._seconds = threads + waiting, seconds
        self._unfinished, self._lock = 0, threading.Lock()
        self._pool = ThreadPoolExecutor(threads, "search", initializer=search_threads, initargs=(1,))

    async def run(self, work: Callable[[], T]) -> T:
        """The result of the work, done by one of the threads.

        Work that nobody waits for any more is not begun. What has begun goes on to its end, and counts until then: so
        what is abandoned cannot pile up.

        Raises:
            RequestError: 503, too much is waiting; 504, it took too long.
        """
        with self._lock:
            if self._unfinished >= self._most:
                later = {"Retry-After": str(_RETRY_SECONDS)}
                raise RequestError("service", "busy", f"{self._most} requests at a time; ask again later", 503, later)
            future = self._pool.submit(work)
            self._unfinished += 1
        future.add_done_callback(self._finished)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._seconds)
        except TimeoutError as error:
            allowed = f"{self._seconds:g} seconds, waiting for a free thread included"
            raise RequestError("time to answer", "too long", allowed, 504) from error

    def _finished(self, _: Future) -> None:
        with self._lock:
            self._unfinished -= 1

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
