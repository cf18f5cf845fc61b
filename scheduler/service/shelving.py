"""Keeps lanes moving past tasks that cannot start: their model is run by nobody, or their model or label is paused.

Tasks are shelved when it frees something: their lane's share of the window is full, at least half of it with such
tasks, their reason has stood for a while, and a runner of the pool could do what is behind them; a while is short when
such a runner has nothing to do. A shelf is opened by any scheduler that has credit for its model and knows of no pause
for it, as far as that credit goes. For one scheduler both never hold at once, and two differ in what they know for
less than that while: they do not undo each other's work.
"""

import logging
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final

from scheduler.errors import ServerUnavailable
from scheduler.lanes import Lane
from scheduler.ports.clock import Clock
from scheduler.ports.pauses import Pause, ShelfStore
from scheduler.service.entry import PoolWindow, Waiting
from scheduler.service.intake import Intake
from scheduler.service.pauses import Pauses
from scheduler.service.republisher import Republisher
from scheduler.service.resting import Resting
from scheduler.service.runners import Roster
from scheduler.service.settlement import Settlement
from scheduler.service.shelves import Shelf

log = logging.getLogger(__name__)

INTERVAL_S: Final = 0.5
OPENING_S: Final = 0.1
"""Time between two rounds while there are shelves that can be opened, in seconds."""
GRACE_S: Final = 2.0
"""How long a reason must stand when a runner waits for work, in seconds: one that restarts is back by then, and every
scheduler knows of a pause."""
PATIENCE_S: Final = 15.0
"""How long it must stand when all runners are busy: they may be busy with what came by other lanes."""
BATCH: Final = 512
"""Most tasks that one call puts on a shelf, or takes off one."""
AHEAD: Final = 2
"""Tasks taken off shelves for each free place at a runner: the second waits in the window when the first ends."""
MOST_SHELVES: Final = 1024
"""Shelves from which on no new one is begun: models are names that clients make up."""


class Shelving:
    """Shelves and unshelves for the windows of one scheduler."""

    def __init__(
        self,
        store: ShelfStore,
        windows: Mapping[str, PoolWindow],
        intakes: Mapping[str, Intake],
        roster: Roster,
        pauses: Pauses,
        settlement: Settlement,
        resting: Resting,
        republisher: Republisher,
        clock: Clock,
    ) -> None:
        self._store = store
        self._windows = windows
        self._intakes = intakes
        self._roster = roster
        self._pauses = pauses
        self._settlement = settlement
        self._resting = resting
        self._republisher = republisher
        self._clock = clock
        self._unserved_since_s: dict[tuple[str, str], float] = {}
        self._shelves: dict[str, int] = {}

    async def run(self) -> None:
        """Look for ever; a server that does not answer is met again at the next round. Cancelling it leaves tasks to
        their messages or their tickets.
        """
        while True:
            opening = False
            try:
                self._shelves = await self._store.shelves()
                await self.shelve()
                opening = await self.unshelve()
            except ServerUnavailable as error:
                log.warning("shelving interrupted: %s", error)
            await self._clock.sleep(OPENING_S if opening else INTERVAL_S)

    async def shelve(self) -> None:
        """Shelve what stands in the way now. Raises RecordsUnavailable; what is not shelved then waits as before."""
        for pool, window in self._windows.items():
            served = self._roster.served(pool)
            unserved = window.models() - served
            self._note_unserved(pool, unserved)
            full = set(window.full_lanes())
            if not full:
                continue
            pauses, credits = self._pauses.of(pool), self._credits(pool)
            for lane, tasks in window.stuck(full, unserved).items():
                able = {model for model in served if pauses.holding(lane.level, model) is None}
                reasons: dict[tuple[str, Pause | None], list[Waiting]] = {}
                for task in tasks:
                    reasons.setdefault((task.model, pauses.holding_task(task)), []).append(task)
                ripe = [
                    (_shelf(lane, model, pause), members)
                    for (model, pause), members in reasons.items()
                    if self._is_ripe(lane.pool, model, pause, able, credits)
                ]
                if 2 * sum(len(members) for _, members in ripe) >= window.per_lane:
                    for shelf, members in ripe:
                        await self._put(window, shelf, members)

    async def unshelve(self) -> bool:
        """Publish again what can start, as far as there is credit; returns whether shelves are left that can be opened.

        Raises RecordsUnavailable or LogUnavailable; what was taken is published by the sweeper then.
        """
        ready: dict[tuple[str, str], list[Shelf]] = {}
        for name in self._shelves:
            shelf = Shelf.parse(name)
            if shelf is not None and shelf.pool in self._windows and self._can_open(shelf):
                ready.setdefault((shelf.pool, shelf.model), []).append(shelf)
        for (pool, model), shelves in ready.items():
            credit = self._credits(pool).get(model, 0)
            room = AHEAD * credit - self._windows[pool].waiting_for(model)
            for left, shelf in zip(range(len(shelves), 0, -1), sorted(shelves), strict=True):
                # An equal part for each level: none waits for the shelf of another to be empty.
                limit = min(-(-room // left), BATCH)
                if limit > 0:
                    tasks, tickets = await self._store.unshelve(shelf.name, limit)
                    await self._republisher.publish(tasks, tickets)
                    room -= len(tasks)
        return bool(ready)

    def _credits(self, pool: str) -> Mapping[str, int]:
        return self._roster.credits(pool, self._clock.monotonic())

    def _can_open(self, shelf: Shelf) -> bool:
        pause = self._pauses.of(shelf.pool).holding(shelf.level, shelf.model, shelf.labels)
        return pause is None and shelf.model in self._roster.served(shelf.pool)

    def _note_unserved(self, pool: str, models: set[str]) -> None:
        now_s = self._clock.monotonic()
        for known in [key for key in self._unserved_since_s if key[0] == pool and key[1] not in models]:
            del self._unserved_since_s[known]
        for model in models:
            self._unserved_since_s.setdefault((pool, model), now_s)

    def _is_ripe(
        self, pool: str, model: str, pause: Pause | None, able: set[str], credits: Mapping[str, int]
    ) -> bool:
        """Whether a reason has stood for long enough, given the models that runners could take up."""
        now_s = self._clock.monotonic()
        # With a label, others of the same model may be behind.
        others = able if pause is not None and pause.label_key else able - {model}
        stood_s = (
            now_s - self._unserved_since_s.get((pool, model), now_s)
            if pause is None
            else self._pauses.age_s(pause)
        )
        return bool(others) and stood_s >= (PATIENCE_S if others.isdisjoint(credits) else GRACE_S)

    async def _put(self, window: PoolWindow, shelf: Shelf, tasks: Sequence[Waiting]) -> None:
        """Move tasks of one lane from the window to a shelf. Raises RecordsUnavailable; they are back then."""
        name = shelf.name
        if name not in self._shelves and len(self._shelves) >= MOST_SHELVES:
            return
        rest = iter(tasks)
        while some := list(islice(rest, BATCH)):
            # While another batch was on its way, a runner may have come for these.
            batch = window.withdraw(some)
            if not batch:
                continue
            try:
                settled = await self._store.shelve(name, [(task.id, task.publication) for task in batch])
            except ServerUnavailable:
                for task in batch:
                    window.add(task)
                raise
            self._shelves[name] = self._shelves.get(name, 0) + len(batch)
            self._settlement.settle(task for task, done in zip(batch, settled, strict=True) if done)
            self._resting.rest(task for task, done in zip(batch, settled, strict=True) if not done)
            self._intakes[shelf.pool].made_room({task.lane for task in batch})
            log.info("tasks shelved", extra={"shelf": name, "tasks": len(batch)})


def _shelf(lane: Lane, model: str, pause: Pause | None) -> Shelf:
    key, value = (pause.label_key, pause.label_value) if pause else ("", "")
    return Shelf(lane.pool, lane.level, model, key, value)
