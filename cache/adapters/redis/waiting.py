"""What waits for a trip, by namespace: each has its turn, and no namespace has every line."""

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from typing import Final

from cache.adapters.redis.question import Question

MOST_AT_ONCE: Final = 256
MOST_BYTES: Final = 1 << 20
"""Bytes of values in one trip, unless a single question has more."""
LINES_OF_ONE: Final = 2
"""Trips at a time in which questions of one namespace are."""


class Waiting:
    """Questions in the order in which they were asked, of each namespace in turn."""

    def __init__(self) -> None:
        self._queues: OrderedDict[str, deque[Question]] = OrderedDict()
        self._under_way: Counter[str] = Counter()
        """In how many trips questions of a namespace are."""

    def __bool__(self) -> bool:
        return bool(self._queues)

    def __iter__(self) -> Iterator[Question]:
        for queue in self._queues.values():
            yield from queue

    def add(self, question: Question) -> None:
        """Let a question wait."""
        queue = self._queues.get(question.whose)
        if queue is None:
            queue = self._queues[question.whose] = deque()
        queue.append(question)

    def may_go(self) -> bool:
        """Whether anything waits whose namespace has a line left."""
        return any(self._under_way[whose] < LINES_OF_ONE for whose in self._queues)

    def take(self) -> list[Question]:
        """Take what somebody still waits for, as much as goes in one trip: the oldest of each namespace in turn. To be
        given to `over` when the trip has ended.
        """
        batch: list[Question] = []
        count = size = 0
        able = [whose for whose in self._queues if self._under_way[whose] < LINES_OF_ONE]
        while able:
            for whose in able:
                question = self._next(whose)
                if question is None:
                    continue
                count += len(question.commands)
                size += question.size
                if batch and (count > MOST_AT_ONCE or size > MOST_BYTES):
                    self._note(batch)
                    return batch
                self._queues[whose].popleft()
                batch.append(question)
                # Whose turn it was is last when the next trip is filled.
                self._queues.move_to_end(whose)
            able = [whose for whose in able if self._next(whose) is not None]
        self._note(batch)
        return batch

    def over(self, batch: list[Question]) -> None:
        """Take in that a trip has ended."""
        self._under_way.subtract({question.whose for question in batch})
        self._under_way = +self._under_way

    def clear(self) -> None:
        """Let nothing wait any more."""
        self._queues.clear()

    def _next(self, whose: str) -> Question | None:
        """Return a namespace's oldest question that somebody waits for; without one it has nothing waiting."""
        queue = self._queues.get(whose)
        while queue:
            if not queue[0].told.done():
                return queue[0]
            queue.popleft()
        self._queues.pop(whose, None)
        return None

    def _note(self, batch: list[Question]) -> None:
        self._under_way.update({question.whose for question in batch})
