"""Goes through the records of a partition by the listings of its tenants."""

from redis.asyncio import Redis

from scheduler.adapters.redis.connection import Command
from scheduler.adapters.redis.partitions import PREFIXES
from scheduler.adapters.redis.records import STATES
from scheduler.adapters.redis.scripts import run_commands
from scheduler.ports.records import Republication
from scheduler.ports.walk import OpenTask


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
        ids: list[str] = []
        cursor = ""
        for name in [name for name in names if name >= index]:
            start = f"({last}" if name == index and last else "-"
            wanted = limit - len(ids)
            [found] = await run_commands(
                self._client, [("ZRANGEBYLEX", f"{prefix}ix:{name}", start, "+", "LIMIT", 0, wanted)]
            )
            ids += [task_id.decode() for task_id in found]
            if len(ids) == limit:
                cursor = f"{name}/{ids[-1]}"
                break
        return await self._read(prefix, ids), cursor

    async def _read(self, prefix: str, ids: list[str]) -> list[OpenTask]:
        if not ids:
            return []
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
                    task_id, int(publication), envelope or b"", (isolation or b"").decode()
                )
                tasks.append(OpenTask(STATES[state], published))
        return tasks
