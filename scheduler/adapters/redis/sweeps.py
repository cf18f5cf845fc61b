"""Finds what a death interrupted: leases that ran out and publications that never reached the log."""

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from scheduler.adapters.redis.connection import Argument
from scheduler.adapters.redis.partitions import PREFIXES, republications, ticket
from scheduler.adapters.redis.scripts import Script, load_script, run_script
from scheduler.adapters.retention import DEFAULT_RETENTION, Retention
from scheduler.ports.records import PublishTicket, Republication


class RedisSweeps:
    """SweepStore on Redis. Does not own the client."""

    def __init__(self, client: Redis, retention: Retention = DEFAULT_RETENTION) -> None:
        self._client = client
        self._expire = load_script("expire_leases")
        self._unpublished = load_script("unpublished")
        self._retention_ms = retention.retention_s * 1000

    async def expire_leases(
        self, partitions: Sequence[int], limit: int, error: bytes
    ) -> tuple[list[Republication], list[str], list[PublishTicket]]:
        """End leases that ran out; see SweepStore."""
        back: list[Republication] = []
        lost: list[str] = []
        tickets: list[PublishTicket] = []
        arguments: list[Argument] = [self._retention_ms, limit, error]
        for partition, (member, flat, failed) in await self._sweep(self._expire, partitions, arguments):
            back += republications(flat)
            lost += [task_id.decode() for task_id in failed]
            tickets += ticket(partition, member)
        return back, lost, tickets

    async def unpublished(
        self, partitions: Sequence[int], older_than_ms: int, limit: int
    ) -> list[tuple[PublishTicket, list[Republication]]]:
        """Read old tickets; see SweepStore."""
        replies = await self._sweep(self._unpublished, partitions, [older_than_ms, limit])
        return [
            (PublishTicket(partition, member.decode()), republications(flat))
            for partition, found in replies
            for member, flat in found
        ]

    async def _sweep(
        self, script: Script, partitions: Sequence[int], arguments: list[Argument]
    ) -> list[tuple[int, Any]]:
        if not partitions:
            return []
        calls = [(PREFIXES[partition], arguments) for partition in partitions]
        return list(zip(partitions, await run_script(self._client, script, calls), strict=True))
