"""Keeps what follows from endings, and the lists of parents and children."""

from collections.abc import Sequence

from redis.asyncio import Redis

from scheduler.adapters.redis.connection import Argument, Command
from scheduler.adapters.redis.keeping import retention_argument
from scheduler.adapters.redis.partitions import (
    PREFIXES,
    by_known_partition,
    republications,
    ticket,
)
from scheduler.adapters.redis.records import STATES
from scheduler.adapters.redis.scripts import load_bare_script, load_script, run_commands, run_script
from scheduler.adapters.retention import DEFAULT_RETENTION, Retention
from scheduler.ids import is_task_id
from scheduler.ports.follow_ups import FollowUp, Release, Released
from scheduler.ports.records import PublishTicket, Republication
from scheduler.states import TaskState


class RedisFollowUps:
    """FollowUpStore on Redis. Does not own the client."""

    def __init__(self, client: Redis, retention: Retention = DEFAULT_RETENTION) -> None:
        self._client = client
        self._follow_ups = load_bare_script("follow_ups")
        self._followed_up = load_bare_script("followed_up")
        self._link = load_bare_script("link")
        self._release = load_script("release", "lines", "keeping", "endings", "requeue")
        self._retention = retention_argument(retention)

    async def follow_ups(self, partitions: Sequence[int], limit: int) -> list[FollowUp]:
        """Read the oldest follow-ups; see FollowUpStore."""
        if not partitions or limit < 1:
            return []
        calls = [(PREFIXES[partition], [limit]) for partition in partitions]
        replies = await run_script(self._client, self._follow_ups, calls)
        return [
            FollowUp(partition, member.decode(), _endings(member.decode()), [p.decode() for p in parents])
            for partition, found in zip(partitions, replies, strict=True)
            for member, parents in found
        ]

    async def followed_up(self, done: Sequence[FollowUp]) -> None:
        """Forget follow-ups; see FollowUpStore."""
        if done:
            calls = [(PREFIXES[each.partition], [each.member, *each.parents]) for each in done]
            await run_script(self._client, self._followed_up, calls)

    async def children(self, parents: Sequence[str]) -> list[list[str]]:
        """Read lists of children; see FollowUpStore."""
        found: list[list[str]] = [[] for _ in parents]
        places = [place for place, parent in enumerate(parents) if is_task_id(parent)]
        if places:
            commands: list[Command] = [
                ("SMEMBERS", f"{PREFIXES[int(parents[place][:2])]}c:{parents[place]}") for place in places
            ]
            replies = await run_commands(self._client, commands)
            for place, children in zip(places, replies, strict=True):
                found[place] = sorted([child.decode() for child in children])
        return found

    async def link(self, pairs: Sequence[tuple[str, str]], tenant: str) -> list[TaskState | None]:
        """Make children known to their parents; see FollowUpStore."""
        answers: list[TaskState | None] = [None] * len(pairs)
        split = by_known_partition([parent for parent, _ in pairs])
        calls = []
        for partition, places in split.items():
            arguments: list[Argument] = [tenant]
            for place in places:
                arguments += pairs[place]
            calls.append((PREFIXES[partition], arguments))
        replies = await run_script(self._client, self._link, calls) if calls else []
        for places, states in zip(split.values(), replies, strict=True):
            for place, state in zip(places, states, strict=True):
                answers[place] = TaskState(state) if state else None
        return answers

    async def release(
        self, releases: Sequence[Release]
    ) -> tuple[list[Released], list[Republication], list[PublishTicket]]:
        """Strike parents off their children's lists; see FollowUpStore."""
        answers = [Released.GONE] * len(releases)
        back: list[Republication] = []
        tickets: list[PublishTicket] = []
        split = by_known_partition([release.child for release in releases])
        calls = []
        for partition, places in split.items():
            arguments: list[Argument] = [self._retention]
            for place in places:
                arguments += _arguments(releases[place])
            calls.append((PREFIXES[partition], arguments))
        replies = await run_script(self._client, self._release, calls) if calls else []
        for (partition, places), (member, flat, codes) in zip(split.items(), replies, strict=True):
            back += republications(flat)
            tickets += ticket(partition, member)
            for place, code in zip(places, codes, strict=True):
                answers[place] = Released(code)
        return answers, back, tickets


def _arguments(release: Release) -> tuple[Argument, ...]:
    order = f"{int(release.verdict)}{int(release.hold)}"
    blob, words = release.error or release.envelope, release.replaces or release.reason
    return release.child, release.parent, order, blob, words


def _endings(member: str) -> list[tuple[TaskState, list[str]]]:
    """Read `<number>:<state digit><attempt>:<id>,<id>…;…`; what ended the same way is put together."""
    endings: dict[TaskState, list[str]] = {}
    for group in member.split(":", 1)[1].split(";"):
        head, ids = group.split(":")
        endings.setdefault(STATES[head[0]], []).extend(ids.split(","))
    return list(endings.items())
