"""Keeps recurring tasks: a hash for each, the due times of a partition, and the names of a tenant."""

from collections.abc import Sequence
from typing import Final

from redis.asyncio import Redis

from scheduler.adapters.redis.connection import Argument, Command
from scheduler.adapters.redis.partitions import PREFIXES, index_name
from scheduler.adapters.redis.scripts import load_bare_script, run_commands, run_script
from scheduler.ids import partition_for
from scheduler.ports.schedules import StoredSchedule

FIELDS: Final = (
    "tenant",
    "name",
    "definition",
    "envelope",
    "created",
    "due",
    "last",
    "task",
    "missed",
    "fault",
)
"""Fields of a hash, in the order of StoredSchedule."""


class RedisSchedules:
    """ScheduleStore on Redis. Does not own the client."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._create = load_bare_script("create_schedule")
        self._change = load_bare_script("change_schedule")
        self._delete = load_bare_script("delete_schedule")
        self._due = load_bare_script("due_schedules")

    async def create(self, schedule: StoredSchedule) -> StoredSchedule | None:
        """Keep a new schedule; see ScheduleStore."""
        arguments = [*_name(schedule.tenant, schedule.name), schedule.due_ms, *_fields(schedule)]
        call = (_prefix(schedule.tenant, schedule.name), arguments)
        [flat] = await run_script(self._client, self._create, [call])
        return _schedule(flat) if flat else None

    async def get(self, tenant: str, name: str) -> StoredSchedule | None:
        """Read a schedule; see ScheduleStore."""
        [flat] = await run_commands(self._client, [_read(tenant, name)])
        return _schedule(flat) if flat else None

    async def delete(self, tenant: str, name: str) -> bool:
        """Forget a schedule; see ScheduleStore."""
        call = (_prefix(tenant, name), _name(tenant, name))
        [gone] = await run_script(self._client, self._delete, [call])
        return bool(gone)

    async def due(self, partitions: Sequence[int], limit: int) -> list[StoredSchedule]:
        """Read schedules whose time has come; see ScheduleStore."""
        if not partitions:
            return []
        calls = [(PREFIXES[partition], [limit]) for partition in partitions]
        replies = await run_script(self._client, self._due, calls)
        return [_schedule(flat) for found in replies for flat in found if flat]

    async def change(self, before: StoredSchedule, after: StoredSchedule) -> bool:
        """Replace a schedule; see ScheduleStore."""
        arguments: list[Argument] = [*_name(before.tenant, before.name), before.create_time_ms]
        arguments += (before.due_ms, after.due_ms, *_fields(after))
        call = (_prefix(before.tenant, before.name), arguments)
        [changed] = await run_script(self._client, self._change, [call])
        return bool(changed)

    async def list(self, tenant: str, after: str, limit: int) -> list[StoredSchedule]:
        """Read a tenant's schedules by name; see ScheduleStore."""
        if limit < 1:
            return []
        start = b"(" + after.encode() if after else b"-"
        names: list[Command] = [
            ("ZRANGEBYLEX", f"{prefix}si:{index_name(tenant)}", start, "+", "LIMIT", 0, limit)
            for prefix in PREFIXES
        ]
        found = await run_commands(self._client, names)
        page = sorted([name for some in found for name in some])[:limit]
        if not page:
            return []
        replies = await run_commands(self._client, [_read(tenant, name.decode()) for name in page])
        return [_schedule(flat) for flat in replies if flat]


def _prefix(tenant: str, name: str) -> str:
    return PREFIXES[partition_for(tenant, name)]


def _name(tenant: str, name: str) -> list[Argument]:
    return [index_name(tenant), name]


def _read(tenant: str, name: str) -> Command:
    return ("HGETALL", f"{_prefix(tenant, name)}sc:{index_name(tenant)}:{name}")


def _fields(schedule: StoredSchedule) -> list[Argument]:
    values: Sequence[Argument] = schedule
    arguments: list[Argument] = []
    for field, value in zip(FIELDS, values, strict=True):
        arguments += (field, value)
    return arguments


def _schedule(flat: Sequence[bytes]) -> StoredSchedule:
    fields = {flat[i].decode(): flat[i + 1] for i in range(0, len(flat), 2)}
    return StoredSchedule(
        tenant=fields["tenant"].decode(),
        name=fields["name"].decode(),
        definition=fields["definition"],
        envelope=fields["envelope"],
        create_time_ms=int(fields["created"]),
        due_ms=int(fields["due"]),
        last_ms=int(fields["last"]),
        last_task=fields["task"].decode(),
        missed=int(fields["missed"]),
        last_fault=fields["fault"].decode(),
    )
