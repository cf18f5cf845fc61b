"""Goes through the records of a partition by the listings of its tenants."""

from typing import Final

from redis.asyncio import Redis

from scheduler.adapters.redis.connection import Command
from scheduler.adapters.redis.partitions import PREFIXES
from scheduler.adapters.redis.records import STATES, is_promoted
from scheduler.adapters.redis.scripts import run_commands
from scheduler.ports.records import Republication
from scheduler.ports.walk import OpenTask

READ: Final = 128
"""Records that are read in one round trip."""
READ_BYTES: Final = 8 << 20
"""Envelopes of tasks that have not ended, in bytes, after which a step looks no further."""


class RedisWalk:
    """WalkStore on Redis. Does not own the client."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def open_tasks(self, partition: int, after: str, limit: int) -> tuple[list[OpenTask], str]:
        """Look at some records of a partition; see WalkStore. A cursor is `<tenant's index>/<id>`."""
        prefix = PREFIXES[partition]
        index, _, last = after.partition("/")
        [entries] = await run_commands(self._client, [("HVALS", f"{prefix}tenants")])
        # An entry is an index, and behind a space where its pruning goes on.
        names = sorted({entry.decode().split(" ", 1)[0] for entry in entries})
        ids: list[tuple[str, str]] = []
        cursor = ""
        for name in [name for name in names if name >= index]:
            start = f"({last}" if name == index and last else "-"
            wanted = limit - len(ids)
            [found] = await run_commands(
                self._client, [("ZRANGEBYLEX", f"{prefix}ix:{name}", start, "+", "LIMIT", 0, wanted)]
            )
            ids += [(name, task_id.decode()) for task_id in found]
            if len(ids) == limit:
                cursor = "/".join(ids[-1])
                break
        tasks: list[OpenTask] = []
        size = 0
        for first in range(0, len(ids), READ):
            if size >= READ_BYTES:
                return tasks, "/".join(ids[first - 1])
            some = await self._read(prefix, [task_id for _, task_id in ids[first : first + READ]])
            size += sum(len(task.publication.envelope) for task in some)
            tasks += some
        return tasks, cursor

    async def _read(self, prefix: str, ids: list[str]) -> list[OpenTask]:
        commands: list[Command] = [("HMGET", f"{prefix}t:{task_id}", "v", "e", "g") for task_id in ids]
        tasks: list[OpenTask] = []
        for task_id, (packed, envelope, isolation) in zip(
            ids, await run_commands(self._client, commands), strict=True
        ):
            if packed is None:
                continue
            state, _, publication = packed.decode().split(",", 3)[:3]
            if not STATES[state].terminal:
                published = Republication(
                    task_id,
                    int(publication),
                    envelope or b"",
                    (isolation or b"").decode(),
                    is_promoted(packed),
                )
                tasks.append(OpenTask(STATES[state], published))
        return tasks
