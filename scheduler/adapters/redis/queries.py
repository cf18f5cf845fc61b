"""Reads records, listings, token streams and counters, cancels, and changes what waits."""

from collections.abc import Sequence
from typing import Final

from redis.asyncio import Redis

from scheduler.adapters.redis.connection import Argument, Command
from scheduler.adapters.redis.counters import read_counter
from scheduler.adapters.redis.keeping import retention_argument
from scheduler.adapters.redis.listing import newest
from scheduler.adapters.redis.partitions import (
    PREFIXES,
    by_known_partition,
    index_name,
    republications,
    ticket,
)
from scheduler.adapters.redis.records import read_record
from scheduler.adapters.redis.scripts import load_script, run_commands, run_script
from scheduler.adapters.retention import DEFAULT_RETENTION, Retention
from scheduler.ids import is_task_id
from scheduler.ports.records import (
    Cancelled,
    PublishTicket,
    QueueCount,
    Record,
    Republication,
    Update,
    Updated,
)
from scheduler.states import Level

READ_AT_ONCE: Final = 500
"""Records read in one round trip, which bounds what a reply holds in memory."""

VERDICTS = (None, Cancelled.CANCELLED, Cancelled.ALREADY_TERMINAL, Cancelled.NOT_FOUND)


class RedisQueries:
    """QueryStore on Redis. Does not own the client."""

    def __init__(self, client: Redis, retention: Retention = DEFAULT_RETENTION) -> None:
        self._client = client
        self._cancel = load_script("cancel", "lines", "keeping", "endings")
        self._update = load_script("update", "lines", "requeue")
        self._header: list[Argument] = [
            retention_argument(retention),
            retention.stream_chunks,
        ]

    async def get(self, ids: Sequence[str], include_result: bool) -> list[Record | None]:
        """Read records; see QueryStore."""
        fields = ("v", "t", "w", "x", "e", "o") if include_result else ("v", "t", "w", "x", "e")
        records: list[Record | None] = [None] * len(ids)
        places = [place for place, task_id in enumerate(ids) if is_task_id(task_id)]
        for first in range(0, len(places), READ_AT_ONCE):
            some = places[first : first + READ_AT_ONCE]
            commands: list[Command] = [
                ("HMGET", f"fb:{{{ids[place][:2]}}}:t:{ids[place]}", *fields) for place in some
            ]
            for place, values in zip(some, await run_commands(self._client, commands), strict=True):
                if values[0] is not None:
                    records[place] = read_record(ids[place], values)
        return records

    async def list_ids(self, tenant: str, before: str, limit: int) -> list[str]:
        """List a tenant's ids, newest first; see QueryStore. Entries of expired records go when they are met."""
        return await newest(self._client, f"ix:{index_name(tenant)}", before, limit)

    async def output(self, task_id: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Read a token stream; see QueryStore."""
        if not is_task_id(task_id):
            return []
        stream = f"fb:{{{task_id[:2]}}}:s:{task_id}"
        command = ("XRANGE", stream, f"(0-{max(after, 0)}", "+", "COUNT", limit)
        [entries] = await run_commands(self._client, [command])
        return [(int(number[2:]), fields[1]) for number, fields in entries]

    async def cancel(
        self, ids: Sequence[str], tenant: str, error: bytes, last_output: bytes
    ) -> list[Cancelled]:
        """Cancel tasks; see QueryStore. Those that were running are told of on a stream of their own."""
        answers = [Cancelled.NOT_FOUND] * len(ids)
        split = by_known_partition(ids)
        if not split:
            return answers
        header: list[Argument] = [*self._header, tenant, error, last_output]
        calls = [
            (PREFIXES[partition], [*header, *(ids[place] for place in places)])
            for partition, places in split.items()
        ]
        replies = await run_script(self._client, self._cancel, calls)
        for places, codes in zip(split.values(), replies, strict=True):
            for place, code in zip(places, codes, strict=True):
                answers[place] = VERDICTS[code] or Cancelled.NOT_FOUND
        return answers

    async def queue_counts(self) -> list[QueueCount]:
        """Sum up the counters of all partitions; see QueryStore."""
        commands: list[Command] = [("HGETALL", f"{prefix}q") for prefix in PREFIXES]
        counts: dict[tuple[str, int], list[int]] = {}
        for flat in await run_commands(self._client, commands):
            for i in range(0, len(flat), 2):
                counter = read_counter(flat[i])
                count = counts.setdefault(counter[:2], [0, 0, 0])
                count[counter.kind] += int(flat[i + 1])
        return [QueueCount(pool, Level(level), *count) for (pool, level), count in sorted(counts.items())]

    async def update(
        self, updates: Sequence[Update], tenant: str
    ) -> tuple[list[Updated], list[Republication], list[PublishTicket]]:
        """Change tasks that wait; see QueryStore."""
        answers = [Updated.NOT_FOUND] * len(updates)
        back: list[Republication] = []
        tickets: list[PublishTicket] = []
        split = by_known_partition([update.id for update in updates])
        calls = []
        for partition, places in split.items():
            arguments: list[Argument] = [tenant]
            for place in places:
                update = updates[place]
                arguments += (update.id, update.publication, int(update.level), update.deadline_ms)
                arguments += (update.not_before_ms, update.envelope, update.replaces)
            calls.append((PREFIXES[partition], arguments))
        replies = await run_script(self._client, self._update, calls) if calls else []
        for (partition, places), (member, flat, codes) in zip(split.items(), replies, strict=True):
            back += republications(flat)
            tickets += ticket(partition, member)
            for place, code in zip(places, codes, strict=True):
                answers[place] = Updated(code)
        return answers, back, tickets
