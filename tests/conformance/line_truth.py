"""What the counters and lines of a real server must be, worked out from its records one by one."""

from collections.abc import Sequence
from typing import Final

from redis.asyncio import Redis

from scheduler.adapters.redis.connection import Command
from scheduler.adapters.redis.scripts import run_commands

_KINDS: Final = {"1": "waiting", "2": "waiting", "3": "queued", "4": "running", "5": "waiting"}

Found = dict[str, dict[str, float]]
"""Numbers by name, by key."""


async def check_lines(client: Redis, ids: Sequence[str]) -> None:
    """Raise AssertionError when anything is counted or in a line that these records do not say, or is missing there."""
    expected, got = await _expected(client, ids), await _kept(client)
    if got != expected:
        raise AssertionError(f"the records say\n  {expected}\nbut the lines and counters are\n  {got}")


async def _expected(client: Redis, ids: Sequence[str]) -> Found:
    found: Found = {}
    commands: list[Command] = [("HGET", f"{_prefix(task_id)}t:{task_id}", "v") for task_id in ids]
    for task_id, packed in zip(ids, await run_commands(client, commands), strict=True):
        head, *steps = (packed or b"9,,").decode().split(";")
        state, *_, deadline, queue = head.split(",")
        if state not in _KINDS:
            continue
        counters, counter = found.setdefault(f"{_prefix(task_id)}q", {}), f"{queue}.{_KINDS[state]}"
        counters[counter] = counters.get(counter, 0) + 1
        if state == "3":
            entered = [step for step in steps if step[0] == "3" and step[14:] != "PROMOTED"]
            line = found.setdefault(f"{_prefix(task_id)}w:{queue}", {})
            line[task_id] = float(entered[-1][1:14])
            if deadline != "0" and not steps[-1].endswith("PROMOTED"):
                model = queue.split(".", 3)[3]
                found.setdefault(f"{_prefix(task_id)}u:{model}", {})[task_id] = float(deadline)
    return found


async def _kept(client: Redis) -> Found:
    patterns: list[Command] = [("KEYS", pattern) for pattern in ("fb:*:q", "fb:*:w:*", "fb:*:u:*")]
    counters, *sets = await run_commands(client, patterns)
    keys = [*counters, *(key for some in sets for key in some)]
    reads: list[Command] = [
        ("HGETALL", key) if key in counters else ("ZRANGE", key, 0, -1, "WITHSCORES") for key in keys
    ]
    return {
        key.decode(): {flat[i].decode(): float(flat[i + 1]) for i in range(0, len(flat), 2)}
        for key, flat in zip(keys, await run_commands(client, reads), strict=True)
    }


def _prefix(task_id: str) -> str:
    return f"fb:{{{task_id[:2]}}}:"
