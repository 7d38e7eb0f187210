"""A pool of threads that answer requests, with a bounded queue and a time limit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from modit.serve.schema import RequestError, retry_after

T = TypeVar("T")


class Workers:
    """A pool with a bounded queue. Leaving its context waits for the work that has begun, and drops the rest."""

    def __init__(self, threads: int, waiting: int, seconds: float) -> None:
        """Prepares the pool.

        Args:
            threads: requests that are answered at the same time.
            waiting: further requests that may wait.
            seconds: that a caller waits at most.
        """
        self._most, self._seconds = threads + waiting, seconds
        self._unfinished, self._lock = 0, threading.Lock()
        self._pool = ThreadPoolExecutor(threads, "search")

    async def run(self, work: Callable[[], T]) -> T:
        """Runs work in one of the threads and returns its result.

        Work whose caller has given up is not started. Work that has started runs to its end and counts as unfinished
        until then, so abandoned work cannot pile up.

        Raises:
            RequestError: 503, too much is waiting; 504, it took too long.
        """
        with self._lock:
            if self._unfinished >= self._most:
                allowed = f"{self._most} requests at a time; ask again later"
                message = f"The service is busy with {self._most} requests. Try again in a moment."
                raise RequestError("service", "busy", allowed, 503, retry_after(1), message)
            future = self._pool.submit(work)
            self._unfinished += 1
        future.add_done_callback(self._finished)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._seconds)
        except TimeoutError as error:
            allowed = f"{self._seconds:g} seconds, waiting for a free thread included"
            message = f"The answer took longer than {self._seconds:g} seconds."
            raise RequestError("time to answer", "too long", allowed, 504, message=message) from error

    def _finished(self, _: Future) -> None:
        with self._lock:
            self._unfinished -= 1

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
