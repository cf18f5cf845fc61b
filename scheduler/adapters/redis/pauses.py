"""Keeps what is held back, and the shelves on which tasks rest."""

import json
from collections.abc import Sequence
from typing import Final

from redis.asyncio import Redis

from scheduler.adapters.redis.connection import Argument, Command
from scheduler.adapters.redis.partitions import PREFIXES, by_partition, republications, ticket
from scheduler.adapters.redis.scripts import load_bare_script, load_script, run_commands, run_script
from scheduler.ports.pauses import Pause, StandingPause
from scheduler.ports.records import PublishTicket, Republication

PAUSES: Final = "fb:pauses"
"""The hash of all pauses: selector to time and reason."""


class RedisPauses:
    """PauseStore on Redis. Does not own the client."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._pause = load_bare_script("pause")
        self._resume = load_bare_script("resume")

    async def pause(self, pause: Pause, reason: str) -> StandingPause:
        """Pause; see PauseStore."""
        selector = _selector(pause)
        [standing] = await run_script(self._client, self._pause, [(PAUSES, [selector, reason])])
        return _standing(pause, standing)

    async def resume(self, pause: Pause) -> StandingPause | None:
        """Take back a pause; see PauseStore."""
        [standing] = await run_script(self._client, self._resume, [(PAUSES, [_selector(pause)])])
        return _standing(pause, standing) if standing is not None else None

    async def pauses(self) -> list[StandingPause]:
        """Read all pauses; see PauseStore."""
        [flat] = await run_commands(self._client, [("HGETALL", PAUSES)])
        standing = [_standing(Pause(*json.loads(flat[i])), flat[i + 1]) for i in range(0, len(flat), 2)]
        return sorted(standing, key=lambda each: (each.since_ms, each.pause))


class RedisShelves:
    """ShelfStore on Redis. Does not own the client.

    A partition knows the names of its own shelves: a set of all names could lose one between two steps.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._shelve = load_script("shelve")
        self._unshelve = load_script("unshelve", "lines", "requeue")
        self._shelves = load_bare_script("shelves")

    async def shelve(self, shelf: str, tasks: Sequence[tuple[str, int]]) -> list[bool]:
        """Put tasks on a shelf; see ShelfStore."""
        if not tasks:
            return []
        split = by_partition(tasks, lambda task: task[0])
        calls = []
        for partition, places in split.items():
            arguments: list[Argument] = [shelf]
            for place in places:
                arguments += tasks[place]
            calls.append((PREFIXES[partition], arguments))
        answers = [False] * len(tasks)
        replies = await run_script(self._client, self._shelve, calls)
        for places, flags in zip(split.values(), replies, strict=True):
            for place, flag in zip(places, flags, strict=True):
                answers[place] = flag == 1
        return answers

    async def unshelve(self, shelf: str, limit: int) -> tuple[list[Republication], list[PublishTicket]]:
        """Take the oldest tasks off a shelf; see ShelfStore."""
        if limit < 1:
            return [], []
        commands: list[Command] = [
            ("ZRANGE", f"{prefix}shelf:{shelf}", 0, limit - 1, "WITHSCORES") for prefix in PREFIXES
        ]
        oldest = sorted(
            (float(flat[i + 1]), partition, flat[i])
            for partition, flat in enumerate(await run_commands(self._client, commands))
            for i in range(0, len(flat), 2)
        )[:limit]
        chosen: dict[int, list[Argument]] = {}
        for _, partition, member in oldest:
            chosen.setdefault(partition, [shelf]).append(member)
        calls = [(PREFIXES[partition], arguments) for partition, arguments in chosen.items()]
        replies = await run_script(self._client, self._unshelve, calls) if calls else []
        back: list[Republication] = []
        tickets: list[PublishTicket] = []
        for partition, (made, flat) in zip(chosen, replies, strict=True):
            back += republications(flat)
            tickets += ticket(partition, made)
        return back, tickets

    async def shelves(self) -> dict[str, int]:
        """Count what is on the shelves; see ShelfStore."""
        found: dict[str, int] = {}
        for flat in await run_script(self._client, self._shelves, [(prefix, []) for prefix in PREFIXES]):
            for i in range(0, len(flat), 2):
                if flat[i + 1]:
                    name = flat[i].decode()
                    found[name] = found.get(name, 0) + flat[i + 1]
        return found


def _selector(pause: Pause) -> str:
    return json.dumps(pause)


def _standing(pause: Pause, packed: bytes) -> StandingPause:
    since, reason = packed.split(b";", 1)
    return StandingPause(pause, reason.decode(), int(since))
