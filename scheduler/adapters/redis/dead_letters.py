"""Keeps the lists of dead letters, and messages that nobody could read."""

from collections.abc import Sequence

from redis.asyncio import Redis

from scheduler.adapters.redis.connection import Argument, Command
from scheduler.adapters.redis.listing import newest
from scheduler.adapters.redis.partitions import PREFIXES, by_known_partition, by_partition, index_name
from scheduler.adapters.redis.scripts import load_bare_script, load_script, run_commands, run_script
from scheduler.adapters.retention import DEFAULT_RETENTION, Retention
from scheduler.errors import MessageUnreadable
from scheduler.ids import is_task_id
from scheduler.ports.dead_letters import UNREADABLE_TENANT, UnreadableLetter


class RedisDeadLetters:
    """DeadLetterStore on Redis. Does not own the client."""

    def __init__(self, client: Redis, retention: Retention = DEFAULT_RETENTION) -> None:
        self._client = client
        self._bury = load_script("bury", "letters")
        self._remove = load_bare_script("remove_letters")
        self._retention = retention

    async def dead_letters(self, tenant: str, before: str, limit: int) -> list[str]:
        """List a tenant's dead letters; see DeadLetterStore."""
        return await newest(self._client, f"dead:{index_name(tenant)}", before, limit)

    async def bury(self, letters: Sequence[UnreadableLetter]) -> list[bool]:
        """Keep messages that nobody could read; see DeadLetterStore."""
        if not letters:
            return []
        header: list[Argument] = [
            self._retention.dead_letter_s * 1000,
            UNREADABLE_TENANT,
            index_name(UNREADABLE_TENANT),
            MessageUnreadable.reason,
        ]
        split = by_partition(letters, lambda letter: letter.id)
        calls = []
        for partition, places in split.items():
            arguments = list(header)
            for place in places:
                letter = letters[place]
                arguments += (letter.id, letter.payload, letter.topic, letter.error)
            calls.append((PREFIXES[partition], arguments))
        kept = [False] * len(letters)
        replies = await run_script(self._client, self._bury, calls)
        for places, flags in zip(split.values(), replies, strict=True):
            for place, flag in zip(places, flags, strict=True):
                kept[place] = flag == 1
        return kept

    async def raw(self, ids: Sequence[str]) -> list[tuple[bytes, str]]:
        """Read unreadable messages; see DeadLetterStore."""
        found = [(b"", "")] * len(ids)
        places = [place for place, task_id in enumerate(ids) if is_task_id(task_id)]
        if places:
            commands: list[Command] = [
                ("HMGET", f"fb:{{{ids[place][:2]}}}:t:{ids[place]}", "raw", "topic") for place in places
            ]
            replies = await run_commands(self._client, commands)
            for place, (payload, topic) in zip(places, replies, strict=True):
                found[place] = (payload or b"", (topic or b"").decode())
        return found

    async def remove(self, ids: Sequence[str], tenant: str) -> list[bool]:
        """Take letters off the list; see DeadLetterStore."""
        removed = [False] * len(ids)
        split = by_known_partition(ids)
        header: list[Argument] = [index_name(tenant), self._retention.record_s(tenant) * 1000]
        calls = [
            (PREFIXES[partition], [*header, *(ids[place] for place in places)])
            for partition, places in split.items()
        ]
        replies = await run_script(self._client, self._remove, calls) if calls else []
        for places, flags in zip(split.values(), replies, strict=True):
            for place, flag in zip(places, flags, strict=True):
                removed[place] = flag == 1
        return removed
