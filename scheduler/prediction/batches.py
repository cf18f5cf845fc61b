"""One cell's tasks between two times of learning, as sketches take them in."""

from collections.abc import Sequence
from typing import Final

from scheduler.policies.expected import Spent, Traits
from scheduler.prediction.drift import OneSided
from scheduler.prediction.pace import Pace
from scheduler.prediction.sketch import SMALLEST, bucket_of

Observed = tuple[Traits, Spent]

_MANY: Final = 16
_EVERY: Final = 4
"""Of so many tensor tasks of one cell, one in four teaches the pace."""


class Tally:
    """Values of one quantity by bucket."""

    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets: dict[int, int] = {}
        self.total = 0.0

    def note(self, value: float) -> int:
        """Take in a value that is no smaller than SMALLEST and no larger than `most`; returns its bucket."""
        bucket = bucket_of(value)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        self.total += value
        return bucket


class Batch:
    """The tallies of a batch."""

    __slots__ = ("amount", "count", "execute", "work")

    def __init__(self, count: int, generates: bool) -> None:
        self.count = count
        self.work = Tally()
        self.execute = Tally()
        self.amount = Tally() if generates else self.work
        """Tokens of generations, work of tensors."""


def tally(observed: Sequence[Observed], pace: Pace, middle: int, drift: OneSided, most: Spent) -> Batch:
    """Count a cell's tasks, teach the pace, and watch on which side their errors fall.

    `middle` is the bucket of the median that was expected of the amount, 0 for none. What is more than `most` is
    taken for that.
    """
    generates = observed[0][0].output_limit > 0
    batch = Batch(len(observed), generates)
    most_work_ms, most_execute_ms, most_tokens = most
    tokens = 1.0
    note_work, note_execute, note_amount = batch.work.note, batch.execute.note, batch.amount.note
    every = 1 if generates or batch.count < _MANY else _EVERY
    for number, (traits, spent) in enumerate(observed):
        work_ms = _within(spent.work_ms, most_work_ms)
        execute_ms = _within(spent.execute_ms, most_execute_ms)
        bucket = note_work(work_ms)
        note_execute(execute_ms)
        if generates:
            tokens = _within(spent.output_tokens, most_tokens)
            bucket = note_amount(tokens)
        if middle:
            drift.note(1 if bucket > middle else -1 if bucket < middle else 0)
        if number % every == 0:
            pace.learn(traits.input_size, tokens, work_ms, execute_ms)
    return batch


def _within(value: float, most: float) -> float:
    # Written so that what is no number counts as the smallest.
    if not value > SMALLEST:
        return SMALLEST
    return value if value < most else most
