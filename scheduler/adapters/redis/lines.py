"""Counts who waits in line, over all partitions.

Every partition counts every line, so a thousand lines are tens of thousands of numbers: they are summed up by their
names as they come, and read in pieces, between which the server and the caller have time for others.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from redis.asyncio import Redis

from scheduler.adapters.redis.connection import Command
from scheduler.adapters.redis.counters import KINDS, read_counter
from scheduler.adapters.redis.partitions import PREFIXES, index_name
from scheduler.adapters.redis.scripts import run_commands
from scheduler.ports.lines import Line
from scheduler.states import Level

LEVELS: Final = {int(level): level for level in Level}
MOST_PARTITIONS: Final = 16
"""Partitions that are read in one round trip."""
MOST_COUNTERS: Final = 4096
"""Counters in one round trip, unless one partition has more: a millisecond or two of this process."""


class RedisLines:
    """LineStore on Redis. Does not own the client."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._tenants: dict[str, str] = {}
        """Names by index, of those that were counted last."""

    async def lines(self) -> Sequence[Line]:
        """Count everything; see LineStore."""
        numbers: dict[bytes, int] = {}
        # The first partition tells how many counters the others have, about: tasks are spread over all of them.
        first, together = 0, 1
        while first < len(PREFIXES):
            prefixes = PREFIXES[first : first + together]
            commands: list[Command] = [("HGETALL", f"{prefix}q") for prefix in prefixes]
            replies = await run_commands(self._client, commands)
            for flat in replies:
                for field, number in zip(flat[::2], flat[1::2], strict=True):
                    numbers[field] = numbers.get(field, 0) + int(number)
            first += together
            most = max(len(flat) // 2 for flat in replies) or 1
            together = min(max(MOST_COUNTERS // most, 1), MOST_PARTITIONS)
        return await self._lines(numbers)

    async def place(self, pool: str, level: Level, tenant: str, model: str, queue_time_ms: int) -> int:
        """Count those of one line before a moment; see LineStore."""
        line = f"w:{pool}.{int(level)}.{index_name(tenant)}.{model}"
        commands: list[Command] = [
            ("ZCOUNT", prefix + line, "-inf", f"({queue_time_ms}") for prefix in PREFIXES
        ]
        return sum(await run_commands(self._client, commands))

    async def _lines(self, numbers: Mapping[bytes, int]) -> list[Line]:
        """Put counters together to lines."""
        counts: dict[tuple[str, int, str, str], list[int]] = {}
        for field, number in numbers.items():
            pool, level, index, model, kind = read_counter(field)
            counts.setdefault((pool, level, index, model), [0] * len(KINDS))[kind] = number
        tenants = await self._names({index for _, _, index, _ in counts})
        return sorted(
            Line(pool, LEVELS[level], tenants[index], model, *count)
            for (pool, level, index, model), count in counts.items()
        )

    async def _names(self, indexes: Iterable[str]) -> dict[str, str]:
        """Return the tenants of these indexes; '' for one that no partition knows."""
        names = {index: self._tenants.get(index, "") for index in indexes}
        if not all(name for index, name in names.items() if index):
            # A tenant is written down before its first task, and an index is of the same tenant in all partitions.
            commands: list[Command] = [("HGETALL", f"{prefix}tenants") for prefix in PREFIXES]
            for flat in await run_commands(self._client, commands):
                names |= _tenants(flat, names)
        self._tenants = names
        return names


def _tenants(flat: Sequence[bytes], wanted: Mapping[str, str]) -> dict[str, str]:
    """Read the tenants of a partition: name, then its index and behind a space where its pruning goes on."""
    found = ((flat[i + 1].decode().split(" ", 1)[0], flat[i].decode()) for i in range(0, len(flat), 2))
    return {index: name for index, name in found if index in wanted}
