"""Recurring tasks in memory."""

from collections.abc import Sequence

from scheduler.adapters.memory.partitions import Partition
from scheduler.adapters.memory.state import State
from scheduler.ids import partition_for
from scheduler.ports.schedules import StoredSchedule


class MemorySchedules:
    """ScheduleStore in memory."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._schedules: dict[tuple[str, str], StoredSchedule] = {}
        self._names: dict[str, tuple[str, str]] = {}
        """What the agendas of the partitions hold, to (tenant, name)."""

    async def create(self, schedule: StoredSchedule) -> StoredSchedule | None:
        """Keep a new schedule; see ScheduleStore."""
        present = self._schedules.get((schedule.tenant, schedule.name))
        if present is None:
            self._keep(schedule)
        return present

    async def get(self, tenant: str, name: str) -> StoredSchedule | None:
        """Read a schedule; see ScheduleStore."""
        return self._schedules.get((tenant, name))

    async def delete(self, tenant: str, name: str) -> bool:
        """Forget a schedule; see ScheduleStore."""
        gone = self._schedules.pop((tenant, name), None)
        if gone is not None:
            self._partition(gone).schedules.drop(_entry(gone))
        return gone is not None

    async def due(self, partitions: Sequence[int], limit: int) -> list[StoredSchedule]:
        """Read schedules whose time has come; see ScheduleStore."""
        now = self._state.clock.now_ms()
        return [
            self._schedules[self._names[entry]]
            for each in self._state.among(partitions)
            for entry in each.schedules.until(now, limit)
        ]

    async def change(self, before: StoredSchedule, after: StoredSchedule) -> bool:
        """Replace a schedule; see ScheduleStore."""
        present = self._schedules.get((before.tenant, before.name))
        if present is None or (present.create_time_ms, present.due_ms) != (
            before.create_time_ms,
            before.due_ms,
        ):
            return False
        self._keep(after)
        return True

    async def list(self, tenant: str, after: str, limit: int) -> list[StoredSchedule]:
        """Read a tenant's schedules; see ScheduleStore."""
        names = sorted(name for owner, name in self._schedules if owner == tenant and name > after)
        return [self._schedules[tenant, name] for name in names[: max(limit, 0)]]

    def _keep(self, schedule: StoredSchedule) -> None:
        place, entry = (schedule.tenant, schedule.name), _entry(schedule)
        self._schedules[place] = schedule
        self._names[entry] = place
        agenda = self._partition(schedule).schedules
        agenda.drop(entry)
        if not schedule.paused:
            agenda.put(entry, schedule.due_ms)

    def _partition(self, schedule: StoredSchedule) -> Partition:
        return self._state.partition(partition_for(schedule.tenant, schedule.name))


def _entry(schedule: StoredSchedule) -> str:
    # The length keeps apart what a separator inside a name would mix up.
    return f"{len(schedule.tenant)}:{schedule.tenant}:{schedule.name}"
