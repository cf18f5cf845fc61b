"""Finds what a death interrupted, and what is due."""

from collections.abc import Mapping, Sequence
from typing import Any

from redis.asyncio import Redis

from scheduler.adapters.redis.connection import Argument
from scheduler.adapters.redis.keeping import retention_argument
from scheduler.adapters.redis.partitions import PREFIXES, by_partition, republications, ticket
from scheduler.adapters.redis.scripts import Script, load_bare_script, load_script, run_script
from scheduler.adapters.retention import DEFAULT_RETENTION, Retention
from scheduler.ports.records import PublishTicket, Republication
from scheduler.ports.sweeps import LARGEST_READ_BYTES, MOST_SPARED, Death, Due


class RedisSweeps:
    """SweepStore on Redis. Does not own the client."""

    def __init__(self, client: Redis, retention: Retention = DEFAULT_RETENTION) -> None:
        self._client = client
        self._due = load_bare_script("due")
        self._expire = load_script("expire_leases", "lines", "keeping", "endings", "letters", "requeue")
        self._wake = load_script("wake", "lines", "requeue")
        self._expire_deadlines = load_script("expire_deadlines", "lines", "keeping", "endings")
        self._unpublished = load_script("unpublished")
        self._promote = load_script("promote", "lines", "requeue")
        self._died = load_script("runner_died", "lines", "keeping", "endings", "letters", "requeue")
        self._retention = retention_argument(retention)
        self._dead_letter_ms = retention.dead_letter_s * 1000

    async def due(self, partitions: Sequence[int], republish_after_ms: int) -> Due:
        """Look at all partitions; see SweepStore."""
        due = Due([], [], [], [], [], [], -1)
        next_in_ms = -1
        for partition, (sum_, soonest) in await self._sweep(self._due, partitions, [republish_after_ms]):
            for place, found in enumerate(due[:6]):
                if sum_ >> place & 1:
                    found.append(partition)
            if soonest >= 0 and (next_in_ms < 0 or soonest < next_in_ms):
                next_in_ms = soonest
        return due._replace(next_in_ms=next_in_ms)

    async def expire_leases(
        self, partitions: Sequence[int], limit: int, error: bytes
    ) -> tuple[list[Republication], list[str], list[PublishTicket]]:
        """End leases that ran out; see SweepStore."""
        back: list[Republication] = []
        lost: list[str] = []
        tickets: list[PublishTicket] = []
        arguments: list[Argument] = [self._retention, self._dead_letter_ms, limit, error]
        for partition, (member, flat, failed) in await self._sweep(self._expire, partitions, arguments):
            back += republications(flat)
            lost += [task_id.decode() for task_id in failed]
            tickets += ticket(partition, member)
        return back, lost, tickets

    async def wake(
        self, partitions: Sequence[int], limit: int
    ) -> tuple[list[Republication], list[PublishTicket]]:
        """Make tasks QUEUED whose time has come; see SweepStore."""
        return await self._requeue(self._wake, partitions, [limit])

    async def expire_deadlines(self, partitions: Sequence[int], limit: int) -> list[str]:
        """Make tasks EXPIRED whose deadline has passed; see SweepStore."""
        replies = await self._sweep(self._expire_deadlines, partitions, [self._retention, limit])
        return [task_id.decode() for _, ids in replies for task_id in ids]

    async def unpublished(
        self, partitions: Sequence[int], older_than_ms: int, limit: int
    ) -> list[tuple[PublishTicket, list[Republication]]]:
        """Read old tickets; see SweepStore."""
        arguments: list[Argument] = [older_than_ms, limit, LARGEST_READ_BYTES]
        replies = await self._sweep(self._unpublished, partitions, arguments)
        return [
            (PublishTicket(partition, member.decode()), republications(flat))
            for partition, found in replies
            for member, flat in found
        ]

    async def promote(
        self, partitions: Sequence[int], slack_ms: int, needs: Mapping[str, int], limit: int
    ) -> tuple[list[Republication], list[PublishTicket]]:
        """Put urgent tasks under a new publication; see SweepStore."""
        arguments: list[Argument] = [slack_ms, limit]
        for need in needs.items():
            arguments += need
        return await self._requeue(self._promote, partitions, arguments)

    async def runner_died(self, deaths: Sequence[Death], reason: str, error: bytes) -> int:
        """End the attempts that a dead runner held; see SweepStore."""
        if not deaths:
            return 0
        calls = []
        for partition, places in by_partition(deaths, lambda death: death.id).items():
            arguments: list[Argument] = [
                self._retention,
                self._dead_letter_ms,
                error,
                reason,
                MOST_SPARED,
            ]
            for place in places:
                death = deaths[place]
                arguments += (death.id, death.attempt, int(death.charged), death.isolation)
            calls.append((PREFIXES[partition], arguments))
        return sum(await run_script(self._client, self._died, calls))

    async def _requeue(
        self, script: Script, partitions: Sequence[int], arguments: list[Argument]
    ) -> tuple[list[Republication], list[PublishTicket]]:
        back: list[Republication] = []
        tickets: list[PublishTicket] = []
        for partition, (member, flat) in await self._sweep(script, partitions, arguments):
            back += republications(flat)
            tickets += ticket(partition, member)
        return back, tickets

    async def _sweep(
        self, script: Script, partitions: Sequence[int], arguments: list[Argument]
    ) -> list[tuple[int, Any]]:
        if not partitions:
            return []
        calls = [(PREFIXES[partition], arguments) for partition in partitions]
        return list(zip(partitions, await run_script(self._client, script, calls), strict=True))
