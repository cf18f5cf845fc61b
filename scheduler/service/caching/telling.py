"""How what comes of tasks with a question is counted, and told in their traces. Nothing here waits."""

from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

from cache.tiers import Look
from observability import names, tracing
from observability.metrics import SchedulerMetrics
from scheduler.ports.clock import Clock
from scheduler.service.entry import Waiting

HIT: Final = "hit"
COMPUTED: Final = "computed"
SHARED: Final = "shared"
ABSENT: Final = "absent"
FAILED: Final = "failed"
MODEL_CHANGED: Final = "MODEL_CHANGED"
"""Why a task is executed as if there were no cache: its runner is none of those that its question was made for."""


class Came(NamedTuple):
    """What came of a task: the words are those of calls."""

    outcome: str
    tier: str = ""
    """Where its answer was found."""
    leader: str = ""
    """The traceparent of who computed what it shared; empty where that is not known."""


class Telling:
    """Counts and traces the tasks of one scheduler."""

    def __init__(self, metrics: SchedulerMetrics, clock: Clock) -> None:
        self._cache = metrics.cache
        self._clock = clock

    def looked(self, looks: Iterable[Look]) -> None:
        """Take in what tiers said."""
        for look in looks:
            self._cache.look(look.tier, look.met.value, look.took_s, look.keys)

    def ended(self, ends: Iterable[tuple[Waiting, Came]]) -> None:
        """Take in what came of tasks, each once."""
        traced = tracing.enabled()
        counts: Counter[tuple[str, str]] = Counter()
        for task, came in ends:
            counts[task.model.partition("@")[0], came.outcome] += 1
            if traced and task.envelope.traceparent:
                self._trace(task, came)
        for (model, outcome), count in counts.items():
            self._cache.call(model, outcome, count)

    def uncached(self, count: int) -> None:
        """Take in tasks with a question that were leased to a runner it was not made for."""
        self._cache.uncached(MODEL_CHANGED, count)

    def _trace(self, task: Waiting, came: Came) -> None:
        now_ns = self._clock.now_ms() * 1_000_000
        attributes: dict[str, tracing.Value] = {
            names.TASK_ID: task.id,
            names.MODEL_NAME: task.model.partition("@")[0],
            names.CACHE_OUTCOME: came.outcome,
        }
        if came.tier:
            attributes[names.CACHE_TIER] = came.tier
        tracing.emit(
            names.SPAN_CACHE,
            parent=task.envelope.traceparent,
            # Clocks may be set back.
            start_ns=min(task.received_ns or now_ns, now_ns),
            end_ns=now_ns,
            attributes=attributes,
            links=(came.leader,) if came.leader else (),
            failed="FAILED" if came.outcome == FAILED else "",
        )
