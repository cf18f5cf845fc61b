"""Which rows have a slot, which wait for one, and which were paused.

A row takes the lowest free slot, the most urgent one first. When there is none, a CRITICAL row may have that of a row
of a lower level: what that one held is kept, or its prompt is read again, and it goes on later as if nothing had been.
"""

from collections.abc import Iterable, Sequence

from inference.engine import GenerationStats
from inference.generate.kv_cache import KvCache
from inference.generate.parking import Parking
from inference.generate.preemption import Candidate, Pause, choose_victim, gives_way, turn
from inference.generate.row import NO_SLOT, Row
from inference.generate.slots import SlotTable
from scheduler.states import Level


class Seating:
    """The rows of one engine and their slots."""

    def __init__(self, cache: KvCache, slots: int, context: int, parking: Parking | None) -> None:
        """Without `parking`, nothing is ever paused."""
        self._cache = cache
        self._table = SlotTable(slots)
        self._capacity = slots * context
        self._parking = parking
        self._seated: list[Row] = []
        self._waiting: list[Row] = []
        """Sorted: the next one in front. Paused rows wait among those that never had a slot."""
        self._arrivals = 0
        self.changed = False
        """Whether requests came, or rows got slots or left them, since somebody looked; who looks takes it back."""
        self._pauses = 0

    def __len__(self) -> int:
        return len(self._seated) + len(self._waiting)

    def add(self, rows: Iterable[Row]) -> None:
        """Let new rows wait for slots."""
        for row in rows:
            row.order = self._arrivals
            self._arrivals += 1
            self._wait(row)

    def remove(self, row: Row) -> None:
        """Forget a row, wherever it is."""
        if row.slot != NO_SLOT:
            self._seated.remove(row)
            self._leave(row)
        elif row in self._waiting:
            self._waiting.remove(row)
        if row.parked is not None and self._parking is not None:
            self._parking.drop(row.parked)
            row.parked = None

    def seat(self) -> None:
        """Give slots to those that wait, as far as there are any."""
        while self._waiting:
            row = self._waiting[0]
            if not self._table.free and not (row.level is Level.CRITICAL and self._pause_one()):
                return
            self._waiting.remove(row)
            row.slot = self._table.take()
            if row.parked is not None and self._parking is not None:
                self._parking.restore(row.parked, row.slot)
                row.parked = None
            self._seated.append(row)
            self.changed = True

    def keys(self) -> list[str]:
        """Return the requests whose rows have slots."""
        return list({row.generation.key: None for row in self._seated})

    def readers(self) -> list[Row]:
        """Return the seated rows that have not read their prompt."""
        return [row for row in self._seated if row.reads]

    def generating(self) -> list[Row]:
        """Return the seated rows that have, by slot."""
        return sorted((row for row in self._seated if not row.reads), key=lambda row: row.slot)

    def lengths(self) -> list[tuple[int, int]]:
        """Return (slot, tokens held) of every seated row.

        Also of those that read, or have just read, their prompts and do not generate before the next step: what a
        decode run writes for them must lie behind what they hold.
        """
        return [(row.slot, row.held) for row in self._seated]

    def reach(self, rows: Sequence[Row]) -> int:
        """Return how many slots a decode run of these rows covers."""
        return self._table.reach(row.slot for row in rows)

    def close_gaps(self) -> None:
        """Move a row down where the decode run gets smaller by it."""
        if not self._cache.readable:
            return
        rows = {row.slot: row for row in self._seated if not row.reads}
        place = self._table.better_place(rows)
        if place is not None:
            source, target = place
            self._cache.move(source, target, rows[source].held)
            self._table.move(source, target)
            rows[source].slot = target

    def preemptable(self, level: Level) -> int:
        """Return how many rows would leave their slots to as many new ones of a level."""
        parking = self._parking
        if parking is None:
            return 0
        asked = sum(row.level is Level.CRITICAL for row in self._waiting)
        return max(0, sum(gives_way(_candidate(row, parking), level) for row in self._seated) - asked)

    def stats(self, prefix_queries: int, prefix_hits: int) -> GenerationStats:
        """Count what is held."""
        paused = sum(row.parked is not None for row in self._waiting)
        return GenerationStats(
            running=len(self._seated),
            waiting=len(self._waiting) - paused,
            preempted=paused,
            preemptions=self._pauses,
            kv_tokens=sum(row.held for row in self._seated),
            kv_capacity=self._capacity,
            prefix_queries=prefix_queries,
            prefix_hits=prefix_hits,
        )

    def _pause_one(self) -> bool:
        """Free the slot of the row that is worth least; False when there is none."""
        parking = self._parking
        if parking is None:
            return False
        victim = choose_victim([_candidate(row, parking) for row in self._seated], Level.CRITICAL)
        if victim is None:
            return False
        row = self._seated[victim.index]
        if victim.pause is Pause.KEEP:
            row.parked = parking.park(row.slot, row.held)
        else:
            row.held = row.cached = 0
            row.known = None
        self._seated.remove(row)
        self._leave(row)
        self._wait(row)
        self._pauses += 1
        return True

    def _leave(self, row: Row) -> None:
        self._table.give_back(row.slot)
        row.slot = NO_SLOT
        self.changed = True

    def _wait(self, row: Row) -> None:
        self._waiting.append(row)
        self._waiting.sort(key=lambda waiting: turn(waiting.level, waiting.order))


def _candidate(row: Row, parking: Parking) -> Candidate:
    """Say of a row what decides whether it gives way."""
    fits = parking.room_for(row.held)
    return Candidate(row.level, row.held, len(row.generated), row.allowed, row.order, fits=fits)
