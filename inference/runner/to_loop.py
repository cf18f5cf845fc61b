"""The way from the engine's thread to the event loop: updates travel in batches, with at most one wake-up outstanding.

Text of a running generation is held back for up to the flush window, unless something urgent goes anyway.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from inference.engine import Update

T = TypeVar("T")


class EngineEvents(Protocol):
    """What the engine thread tells; called on the event loop."""

    def updated(self, updates: Sequence[Update]) -> None:
        """Take what the engine brought, in order."""
        ...

    def returned(self, keys: Sequence[str]) -> None:
        """Take back tasks that the engine never saw."""
        ...


@dataclass(frozen=True, slots=True)
class _Returned:
    keys: Sequence[str]


class ToLoop:
    """Made on the event loop; its methods are for one thread at a time, that loop's own among them."""

    def __init__(
        self, events: Callable[[], EngineEvents], flush_s: float, deserted: Callable[[], None]
    ) -> None:
        """`events` is asked for on the loop, once there is something to tell; `deserted` hears, on the thread, that the
        loop is closed.
        """
        self._events = events
        self._flush_s = flush_s
        self._deserted = deserted
        self._loop = asyncio.get_running_loop()
        self._under_way: deque[Update | _Returned] = deque()
        """Appended to by the thread, emptied by the loop: both ends of a deque are atomic."""
        self._wake_pending = False
        self._flushed_s = 0.0
        self.on_loop = False
        """Whether the loop itself is the one that sends, and so need not be woken."""

    def send(self, updates: Sequence[Update], *, urgent: bool) -> None:
        """Bring updates to the loop: urgent ones at once, others when the flush window is over."""
        self._under_way.extend(updates)
        if urgent or (self._under_way and time.monotonic() - self._flushed_s >= self._flush_s):
            self._wake()

    def give_back(self, keys: Sequence[str]) -> None:
        """Tell at once of tasks that the engine never saw."""
        self._under_way.append(_Returned(keys))
        self._wake()

    def settle(self, future: "asyncio.Future[T]", outcome: T | BaseException) -> None:
        """Give a future of the loop its outcome, unless it has one."""

        def set_outcome() -> None:
            if future.done():
                return
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

        self.call(set_outcome)

    def call(self, callback: Callable[[], None]) -> None:
        """Call a function on the event loop."""
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            # The loop is closed: nobody listens any more.
            self._deserted()

    def _wake(self) -> None:
        if self._wake_pending:
            return
        self._wake_pending = True
        self._flushed_s = time.monotonic()
        if self.on_loop:
            # Not at once: whoever has something admitted does not expect the answer before that is over.
            self._loop.call_soon(self._drain)
        else:
            self.call(self._drain)

    def _drain(self) -> None:
        """Hand over what is under way; on the loop."""
        # Cleared before reading: what is appended from now on asks for another wake-up.
        self._wake_pending = False
        under_way = self._under_way
        updates: list[Update] = []
        while under_way:
            item = under_way.popleft()
            if isinstance(item, _Returned):
                self._events().returned(item.keys)
            else:
                updates.append(item)
        if updates:
            self._events().updated(updates)
