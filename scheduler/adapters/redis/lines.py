"""Counts who waits in line, over all partitions.

Every partition counts every line, so a thousand lines are tens of thousands of numbers: they are summed up by their
names as they come, and read in pieces, between which the server has time for others.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from redis.asyncio import Redis

from scheduler.adapters.redis.connection import Command
from scheduler.adapters.redis.counters import KINDS, read_counter
from scheduler.adapters.redis.partitions import PREFIXES, index_name
from scheduler.adapters.redis.scripts import load_bare_script, run_commands, run_script
from scheduler.ports.lines import Line
from scheduler.states import Level

QUEUED: Final = KINDS["queued"]
PIECES: Final = [PREFIXES[first : first + 16] for first in range(0, len(PREFIXES), 16)]
"""Partitions that are read in one round trip."""


class RedisLines:
    """LineStore on Redis. Does not own the client."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._before = load_bare_script("lines_before")
        self._tenants: dict[str, str] = {}
        """Names by index, of those that were counted last."""

    async def lines(self) -> Sequence[Line]:
        """Count everything; see LineStore."""
        numbers: dict[bytes, int] = {}
        for prefixes in PIECES:
            commands: list[Command] = [("HGETALL", f"{prefix}q") for prefix in prefixes]
            for flat in await run_commands(self._client, commands):
                for field, number in zip(flat[::2], flat[1::2], strict=True):
                    numbers[field] = numbers.get(field, 0) + int(number)
        return await self._lines(numbers, None)

    async def place(self, pool: str, level: Level, tenant: str, model: str, queue_time_ms: int) -> int:
        """Count those of one line before a moment; see LineStore."""
        line = f"w:{pool}.{int(level)}.{index_name(tenant)}.{model}"
        commands: list[Command] = [
            ("ZCOUNT", prefix + line, "-inf", f"({queue_time_ms}") for prefix in PREFIXES
        ]
        return sum(await run_commands(self._client, commands))

    async def lines_before(self, pool: str, queue_time_ms: int) -> Sequence[Line]:
        """Count the lines of a pool, and who is before that moment; see LineStore."""
        numbers: dict[bytes, int] = {}
        later: dict[bytes, int] = {}
        for prefixes in PIECES:
            calls = [(prefix, (pool, queue_time_ms)) for prefix in prefixes]
            for flat in await run_script(self._client, self._before, calls):
                for field, number, after in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
                    numbers[field] = numbers.get(field, 0) + int(number)
                    later[field] = later.get(field, 0) + after
        return await self._lines(numbers, later)

    async def _lines(self, numbers: Mapping[bytes, int], later: Mapping[bytes, int] | None) -> list[Line]:
        """Put counters together to lines. `later` are those who came at the moment asked for, or after it."""
        counts: dict[tuple[str, int, str, str], list[int]] = {}
        for field, number in numbers.items():
            pool, level, index, model, kind = read_counter(field)
            count = counts.setdefault((pool, level, index, model), [0] * (len(KINDS) + 1))
            count[kind] = number
            if kind == QUEUED and later is not None:
                count[-1] = max(number - later[field], 0)
        tenants = await self._names({index for _, _, index, _ in counts})
        return sorted(
            Line(pool, Level(level), tenants[index], model, *count)
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
