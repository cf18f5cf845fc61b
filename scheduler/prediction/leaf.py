"""One cell: what was foretold of its tasks, and what it has seen and not passed on yet."""

from collections.abc import Iterable
from typing import Final

from scheduler.policies.expected import UNKNOWN, Expected, Spent, Traits
from scheduler.prediction.batches import Batch, Observed
from scheduler.prediction.contexts import Context, History
from scheduler.prediction.drift import OneSided
from scheduler.prediction.pace import Pace
from scheduler.prediction.shrinking import Foretold
from scheduler.prediction.sketch import LARGEST, SMALLEST

_LARGEST_BATCH: Final = 32
_LARGEST_BATCH_OF_GENERATIONS: Final = 8
"""There are far fewer of them, and they vary more."""
_OUTLIER: Final = 64.0
"""A time so many times as long as expected says something about the machine, not about the task."""
_LONG_RUN: Final = 256
"""Of so many tasks is made what a task takes in the long run."""
_KNOWN: Final = 16
"""Tasks from which on a cell knows what is an outlier."""
_ANYTHING: Final = Spent(LARGEST, LARGEST, int(LARGEST))


class Leaf:
    """One cell, in the contexts that foretell it."""

    __slots__ = (
        "alarms",
        "batch",
        "contexts",
        "drift",
        "epoch",
        "expected",
        "foretold",
        "mean_ms",
        "observed",
        "pace",
        "seen",
        "traits",
        "uses",
        "version",
    )

    def __init__(self, traits: Traits, contexts: tuple[Context, ...], pace: Pace, drift: OneSided) -> None:
        self.traits = traits
        """Of the task that was foretold last."""
        self.contexts = contexts
        self.pace = pace
        self.drift = drift
        """Of all cells of the same model, tenant and kind: what changes, changes for tasks of every size."""
        self.alarms = drift.alarms
        """Those after which it has forgotten."""
        self.epoch = self.version = -1
        """Of the pace, when contexts were asked and when the expectation was made."""
        self.foretold = Foretold(0.0, 0.0, 0.0, 0)
        self.expected = UNKNOWN
        self.uses = self.seen = 0
        self.mean_ms = 0.0
        """What a task takes in the long run, whatever was forgotten since: 0 before there was one."""
        self.observed: list[Observed] = []
        self.batch = 1
        """How many it takes in at once."""

    def price(self, traits: Traits) -> Expected:
        """Say what a task of this cell costs, from what is foretold of all of them."""
        pace, foretold, limit = self.pace, self.foretold, traits.output_limit
        work_ms, execute_ms = foretold.amount, foretold.execute_ms
        if limit:
            tokens = work_ms if work_ms < limit else limit
            work_ms = pace.work.ms(traits.input_size, tokens)
            execute_ms = pace.execute.ms(traits.input_size, tokens)
        work_ms, execute_ms = bounded(work_ms), bounded(execute_ms)
        self.traits, self.version = traits, pace.version
        self.expected = Expected(work_ms, execute_ms, min(foretold.least_ms, execute_ms))
        return self.expected

    def most(self) -> Spent:
        """Return what is the most to be believed of a task."""
        if self.seen < _KNOWN:
            return _ANYTHING
        work_ms, execute_ms, _ = self.expected
        return Spent(bounded(_OUTLIER * work_ms), bounded(_OUTLIER * execute_ms), int(LARGEST))

    def long_run_ms(self, batch: Batch) -> float:
        """Return what a task takes in the long run; by a batch itself, when it is the first."""
        return self.mean_ms if self.seen else batch.work.total / batch.count

    def saw(self, batch: Batch) -> None:
        """Note that tasks were taken in: the more there were, the larger the next batch."""
        self.seen += batch.count
        part = batch.count / min(self.seen, _LONG_RUN)
        self.mean_ms += (batch.work.total / batch.count - self.mean_ms) * part
        largest = _LARGEST_BATCH_OF_GENERATIONS if self.traits.output_limit else _LARGEST_BATCH
        self.batch = min(largest, 1 + self.seen // 4)

    def forget(self, histories: Iterable[History]) -> None:
        """Let contexts forget, once for each drift."""
        if self.alarms != self.drift.alarms:
            self.alarms = self.drift.alarms
            for history in histories:
                history.forget(self.drift)


def bounded(time_ms: float) -> float:
    """Return a time that is positive and finite."""
    return SMALLEST if time_ms < SMALLEST else time_ms if time_ms < LARGEST else LARGEST
