"""An event loop without I/O, threads and waiting: when nothing is ready, time jumps to the next timer.

Every callback belongs to the process in whose context it was scheduled. One of a process that stands still is kept for
later, one of a process that is dead is never run: a crash leaves its tasks exactly where they are, and not a line of
their clean-up code has an effect.
"""

import asyncio
import heapq
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar
from typing import Any, Final, Protocol, TypeVar

T = TypeVar("T")

STEPS: Final = 400_000
"""Callbacks of one world: more is a livelock."""


class Stalled(AssertionError):
    """Nothing is ready, no timer is set, and the world is not over; or its callbacks never end."""


class Condemned(AssertionError):
    """A promise was broken: there is no more to be learned from this world."""


class Body(Protocol):
    """Whose code runs: what the loop must know of a process."""

    stopped: bool
    """Whether its callbacks must not run now."""

    def park(self, handle: asyncio.Handle) -> None:
        """Take a callback that must not run now."""
        ...


BODY: Final[ContextVar[Body | None]] = ContextVar("body", default=None)
"""The process in whose name code runs; None for the world around them."""


class NumberedTask(asyncio.Task[T]):
    """A task whose hash is its number: sets of tasks are gone through in the same order in every run."""

    def __init__(
        self, number: int, coro: "Coroutine[Any, Any, T] | Generator[Any, None, T]", **kwargs: Any
    ) -> None:
        self.number = number
        super().__init__(coro, **kwargs)

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks in order of their virtual times. Exact to replay: nothing in it looks at the machine."""

    _ready: Any
    _scheduled: list[Any]
    _stopping: bool

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self.condemned = False
        self.tasks: list[asyncio.Task[Any]] = []
        """Every task of the world, so that those of dead processes are not collected, and closed, half-way."""
        self._now = 0.0

    def time(self) -> float:
        return self._now

    def create_task(  # type: ignore[override]  # one signature for all Python versions
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: Context | None = None,
        **_: object,
    ) -> asyncio.Task[T]:
        task = NumberedTask(len(self.tasks), coro, loop=self, name=str(len(self.tasks)), context=context)
        self.tasks.append(task)
        return task

    def at(self, delay_s: float, callback: Callable[..., object], *args: object) -> None:
        """Call in the name of nobody: a network goes on when a sender is dead."""
        self.call_at(self._now + delay_s, callback, *args, context=NOBODY)

    def _write_to_self(self) -> None:
        """Wake nothing: there is no other thread."""

    def _process_events(self, event_list: object) -> None:
        """Do nothing: there is no I/O."""

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled
        if not ready:
            while scheduled and scheduled[0]._cancelled:
                heapq.heappop(scheduled)._scheduled = False
            if not scheduled:
                raise Stalled("every process waits, and nothing will ever wake one")
            if scheduled[0]._when > self._now:
                self._now = scheduled[0]._when
        while scheduled and scheduled[0]._when <= self._now:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            ready.append(handle)
        if self.condemned:
            raise Condemned
        self.steps += len(ready)
        if self.steps > STEPS:
            raise Stalled(f"more than {STEPS} callbacks: something goes round in circles")
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            body = handle._context.get(BODY)
            if body is not None and body.stopped:
                body.park(handle)
            else:
                handle._run()


NOBODY: Final = Context()
"""The context of what belongs to no process."""


def settle(future: "asyncio.Future[T]", outcome: "T | BaseException") -> None:
    """Set a future's outcome unless whoever waited for it has left."""
    if future.done():
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
        # Whoever waited for it may be dead: nobody is to complain then.
        future.exception()
    else:
        future.set_result(outcome)
