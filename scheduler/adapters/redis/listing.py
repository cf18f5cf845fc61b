"""Lists ids newest first out of the partitions' lists, and drops those whose records have expired."""

from collections.abc import Sequence

from redis.asyncio import Redis

from scheduler.adapters.redis.connection import Argument, Command
from scheduler.adapters.redis.partitions import PREFIXES, by_known_partition
from scheduler.adapters.redis.scripts import load_bare_script, run_commands, run_script


async def newest(client: Redis, listing: str, before: str, limit: int) -> list[str]:
    """Return up to `limit` ids of a list that every partition has a part of, such as `ix:<tenant's index>`.

    `before` is a cursor as in QueryStore.list_ids. Entries of expired records go when they are met.
    """
    found: list[str] = []
    while limit > 0:
        wanted = limit - len(found)
        commands: list[Command] = [
            ("ZREVRANGEBYLEX", prefix + listing, _below(prefix, before), "-", "LIMIT", 0, wanted)
            for prefix in PREFIXES
        ]
        replies = await run_commands(client, commands)
        page = sorted([task_id.decode() for ids in replies for task_id in ids], key=_age, reverse=True)[
            :wanted
        ]
        there = await _present(client, listing, page)
        found += there
        if len(there) == len(page) or len(page) < wanted:
            break
        before = page[-1]
    return found


async def _present(client: Redis, listing: str, ids: Sequence[str]) -> list[str]:
    if not ids:
        return []
    commands: list[Command] = [("EXISTS", f"fb:{{{task_id[:2]}}}:t:{task_id}") for task_id in ids]
    flags = await run_commands(client, commands)
    gone = [task_id for task_id, flag in zip(ids, flags, strict=True) if not flag]
    if gone:
        calls: list[tuple[str, list[Argument]]] = [
            (PREFIXES[partition], [listing, *(gone[place] for place in places)])
            for partition, places in by_known_partition(gone).items()
        ]
        await run_script(client, load_bare_script("prune_index"), calls)
    return [task_id for task_id, flag in zip(ids, flags, strict=True) if flag]


def _age(task_id: str) -> str:
    return task_id[3:]


def _below(prefix: str, before: str) -> str:
    # A list holds whole ids of its partition, so the cursor is moved into each.
    return f"({prefix[4:6]}{before[2:]}" if before else "+"
