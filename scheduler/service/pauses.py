"""What is paused, as this scheduler knows it. A pause comes here from services/gateway/queue_service.py through the
record store, and goes on in the windows, which keep what it holds back.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from google.protobuf.message import DecodeError

from forebay.tasks.v1.task_pb2 import TaskSpec
from scheduler.errors import RecordsUnavailable
from scheduler.ports.clock import Clock
from scheduler.ports.pauses import Pause, PauseStore
from scheduler.service.entry import PoolWindow, Waiting
from scheduler.states import Level

log = logging.getLogger(__name__)

INTERVAL_S: Final = 0.5
"""Time between two looks at the pauses: the contract gives a pause a second to work."""

_NO_LABELS: Final[Mapping[str, str]] = {}


class PoolPauses:
    """The pauses that concern one pool, in the order of their age, for quick answers."""

    def __init__(self, pool: str, pauses: Sequence[Pause]) -> None:
        self._pool = pool
        mine = [pause for pause in pauses if pause.pool in ("", pool)]
        self._plain = [pause for pause in mine if not pause.label_key]
        self._labelled = [pause for pause in mine if pause.label_key]
        # Models are names that clients make up: a bounded memory of answers.
        self._of_queue = lru_cache(maxsize=1024)(self._look)

    def __bool__(self) -> bool:
        return bool(self._plain or self._labelled)

    def whole_queue(self, level: Level) -> bool:
        """Whether everything of a level is held back."""
        return any(pause.level in (0, level) and not pause.model for pause in self._plain)

    def holding(self, level: Level, model: str, labels: Mapping[str, str] = _NO_LABELS) -> Pause | None:
        """Return the pause that holds such a task back, None when it may start."""
        plain, labelled = self._of_queue(level, model)
        return plain or next((p for p in labelled if p.holds(self._pool, level, model, labels)), None)

    def holding_task(self, task: Waiting) -> Pause | None:
        """Return the pause that holds a task back. Its labels are looked up only where they matter."""
        level = task.lane.level
        plain, labelled = self._of_queue(level, task.model)
        if plain or not labelled:
            return plain
        labels = labels_of(task)
        return next((p for p in labelled if p.holds(self._pool, level, task.model, labels)), None)

    def holds(self, task: Waiting) -> bool:
        """Whether a task is held back."""
        return self.holding_task(task) is not None

    def _look(self, level: Level, model: str) -> tuple[Pause | None, tuple[Pause, ...]]:
        """Return the pause that holds back all tasks of a level and model, and those that hold back some by label."""
        plain = next((p for p in self._plain if p.holds(self._pool, level, model, _NO_LABELS)), None)
        labelled = tuple(p for p in self._labelled if p.level in (0, level) and p.model in ("", model))
        return plain, labelled


class Pauses:
    """Keeps the windows in step with the pauses that stand."""

    def __init__(
        self, store: PauseStore, windows: Mapping[str, PoolWindow], wake: asyncio.Event, clock: Clock
    ) -> None:
        """`wake` is set when something that was held back may start."""
        self._store = store
        self._windows = windows
        self._wake = wake
        self._clock = clock
        self._pools = {pool: PoolPauses(pool, ()) for pool in windows}
        self._since_s: dict[Pause, float] = {}
        self._away = False
        self.known = asyncio.Event()
        """Set once the pauses are known: nothing is to be put into a window before."""

    async def run(self) -> None:
        """Look for ever. While the record store does not answer, what was known last holds."""
        while True:
            try:
                await self.refresh()
            except RecordsUnavailable as error:
                if not self._away:
                    log.warning("pauses not read, the last ones known hold: %s", error)
                self._away = True
            else:
                self._away = False
            await self._clock.sleep(INTERVAL_S)

    async def refresh(self) -> None:
        """Look once. Raises RecordsUnavailable."""
        standing = [entry.pause for entry in await self._store.pauses()]
        if set(standing) != self._since_s.keys():
            now_s = self._clock.monotonic()
            self._since_s = {pause: self._since_s.get(pause, now_s) for pause in standing}
            self._apply(standing)
        self.known.set()

    def of(self, pool: str) -> PoolPauses:
        """Return what holds back tasks of a pool of this scheduler."""
        return self._pools[pool]

    def age_s(self, pause: Pause) -> float:
        """Return for how long this scheduler has known of a pause, in seconds; 0 when it does not stand."""
        now_s = self._clock.monotonic()
        return now_s - self._since_s.get(pause, now_s)

    def _apply(self, standing: Sequence[Pause]) -> None:
        for pool, window in self._windows.items():
            pauses = self._pools[pool] = PoolPauses(pool, standing)
            window.hold(pauses.holds if pauses else None)
        self._wake.set()
        log.info("pauses changed", extra={"pauses": len(standing)})


def labels_of(task: Waiting) -> Mapping[str, str]:
    """Return a task's labels, read from its envelope once. A spec that cannot be read has none: whoever executes the
    task finds it damaged.
    """
    if task.labels is None:
        try:
            task.labels = dict(TaskSpec.FromString(task.envelope.spec).labels)
        except DecodeError:
            task.labels = _NO_LABELS
    return task.labels
