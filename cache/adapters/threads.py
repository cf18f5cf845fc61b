"""Threads for calls that would keep the event loop waiting, with a bound on what waits for them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class TooManyCalls(Exception):
    """As many calls wait for the threads as may."""


class BoundedThreads:
    """Runs calls in the order in which they were given, as many at a time as there are threads."""

    def __init__(self, name: str, threads: int, limit: int) -> None:
        """No more calls than `limit` are under way or wait. Threads are begun when they are needed first."""
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name)
        self._name = name
        self._limit = limit
        self._waiting = 0

    def start(self, call: Callable[[], T], *, always: bool = False) -> asyncio.Future[T]:
        """Give a thread a call, which it makes whether or not anybody waits for the future. Raises TooManyCalls,
        but for a call that is to be made always.
        """
        if self._waiting >= self._limit and not always:
            raise TooManyCalls(f"{self._waiting} calls wait for {self._name}")
        self._waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, call)
        future.add_done_callback(self._ended)
        return future

    def close(self) -> None:
        """Take no more calls; those that wait are made."""
        self._pool.shutdown(wait=False)

    def _ended(self, future: asyncio.Future[T]) -> None:
        self._waiting -= 1
        if not future.cancelled():
            # Who waited has it too; a future that nobody waits for any more must not complain.
            future.exception()
