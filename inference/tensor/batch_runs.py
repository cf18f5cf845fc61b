"""Runs of batches: who is told before one, and what becomes of the requests of one that fails.

When a run fails its halves run in later steps, until the request at fault is alone: only that one fails, whatever the
provider raised, and a batch for which there is no memory runs in smaller ones. When somebody interrupts a request, the
others of its run run again without it.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Generic, NamedTuple, TypeVar

from inference.engine import Array
from inference.model_errors import failure_of
from inference.tensor.batching import Item, Names
from inference.tensor.current_run import CurrentRun
from inference.tensor.model import Model
from scheduler.errors import TaskFailure

One = TypeVar("One", bound=Item)
"""What waits, one by one: a request, or a text of one."""


class Ran(NamedTuple):
    """A run that went well."""

    outputs: list[Array]
    input_s: float
    """Putting its inputs together."""
    infer_s: float
    ended_s: float
    """When the model had ended, by time.perf_counter."""


class Lost(NamedTuple, Generic[One]):
    """What leaves a run without an answer."""

    item: One
    error: TaskFailure | None
    """None where nobody wants an answer any more."""


class BatchRuns(Generic[One]):
    """The runs of one model. `contains` and `interrupt` are for any thread, the rest for the one that steps."""

    def __init__(self, model: Model) -> None:
        self._run = CurrentRun(model)
        self._again: deque[list[One]] = deque()
        """What shared a run that failed or was interrupted."""
        self._tell: Callable[[Sequence[str]], None] | None = None

    def __bool__(self) -> bool:
        """Whether something has to run again."""
        return bool(self._again)

    def tell(self, tell: Callable[[Sequence[str]], None]) -> None:
        """Have the keys of each batch told before it runs, on the thread that steps."""
        self._tell = tell

    def contains(self, key: str) -> bool:
        """Tell whether a request runs now."""
        return self._run.contains(key)

    def interrupt(self, key: str) -> None:
        """End the run of a request before its next operator. Does nothing when it does not run now."""
        self._run.interrupt(key)

    def next(self, take: Callable[[], list[One]]) -> list[One]:
        """Return what runs next, and tell of it: what has to run again, or else what `take` returns."""
        batch = self._again.popleft() if self._again else take()
        if batch and self._tell is not None:
            # Before the arrays are joined: that too takes memory, for which the process may be killed.
            self._tell(list(dict.fromkeys([item.key for item in batch])))
        return batch

    def run(
        self, batch: Sequence[One], names: Names, join: Callable[[Sequence[One]], dict[str, Array]]
    ) -> Ran:
        """Join the inputs of a batch, run the model, and return the outputs named. Raises whatever either raises, which
        is for `failed`.
        """
        began_s = time.perf_counter()
        feeds = join(batch)
        joined_s = time.perf_counter()
        outputs = self._run.run(names, feeds, batch)
        ended_s = time.perf_counter()
        return Ran(outputs, joined_s - began_s, ended_s - joined_s, ended_s)

    def take_interrupted(self) -> Collection[str]:
        """Return of which requests of the last run nobody wants an answer any more, and forget it."""
        return self._run.take_interrupted()

    def failed(self, batch: list[One], error: Exception) -> list[Lost[One]]:
        """Have those run again that may not be at fault; return those that leave."""
        if gone := self._run.take_interrupted():
            left = [item for item in batch if item.key not in gone]
            if left:
                self._again.appendleft(left)
            return [Lost(item, None) for item in batch if item.key in gone]
        if len(batch) == 1:
            return [Lost(batch[0], failure_of(error))]
        middle = len(batch) // 2
        self._again.extendleft((batch[middle:], batch[:middle]))
        return []

    def apart(self, batch: Sequence[One]) -> list[Lost[One]]:
        """Have each request of a batch run again alone; return those that nobody wants any more."""
        gone = self._run.take_interrupted()
        self._again.extendleft([item] for item in reversed(batch) if item.key not in gone)
        return [Lost(item, None) for item in batch if item.key in gone]

    def forget(self, key: str) -> None:
        """Leave a request out of what runs again."""
        if self._again:
            kept = ([item for item in batch if item.key != key] for batch in self._again)
            self._again = deque(batch for batch in kept if batch)

    def clear(self) -> None:
        """Forget everything."""
        self._again.clear()
