"""Leases tasks to runners, renews leases and takes back what was never executed."""

from collections.abc import Sequence
from operator import itemgetter

from redis.asyncio import Redis

from scheduler.adapters.redis.connection import Argument
from scheduler.adapters.redis.keeping import retention_argument
from scheduler.adapters.redis.partitions import PREFIXES, by_partition, republications, ticket
from scheduler.adapters.redis.scripts import load_script, run_script
from scheduler.adapters.retention import DEFAULT_RETENTION, Retention
from scheduler.ports.records import Hold, Lease, LeaseReply, PublishTicket, Republication, Wanted

VERDICTS = (Lease.EXPIRED, Lease.GRANTED, Lease.STALE, Lease.HELD)


class RedisLeases:
    """LeaseStore on Redis. Does not own the client."""

    def __init__(self, client: Redis, retention: Retention = DEFAULT_RETENTION) -> None:
        self._client = client
        self._lease = load_script("lease", "lines", "keeping", "endings")
        self._renew = load_script("renew")
        self._give_back = load_script("give_back", "lines", "requeue")
        self._retention = retention_argument(retention)

    async def lease(self, wanted: Sequence[Wanted], runner: str, lease_ms: int) -> list[LeaseReply]:
        """Lease tasks to a runner; see LeaseStore."""
        if not wanted:
            return []
        split = by_partition(wanted, itemgetter(0))
        # Most calls have no deadline in them: each word less is one that the store need not read.
        words = 3 if any(map(itemgetter(2), wanted)) else 2
        calls = []
        for partition, places in split.items():
            arguments: list[Argument] = [self._retention, runner, lease_ms, words]
            for place in places:
                arguments += wanted[place][:words]
            calls.append((PREFIXES[partition], arguments))
        replies = await run_script(self._client, self._lease, calls)
        answers = [LeaseReply(Lease.STALE)] * len(wanted)
        for places, (now, codes) in zip(split.values(), replies, strict=True):
            # Most answers of a call are equal, and an answer is immutable: one object for each kind.
            kinds = {code: _reply(code, now) for code in set(codes)}
            for place, code in zip(places, codes, strict=True):
                answers[place] = kinds[code]
        return answers

    async def renew(self, holds: Sequence[Hold], lease_ms: int) -> list[bool]:
        """Extend leases; see LeaseStore."""
        if not holds:
            return []
        split = by_partition(holds, lambda hold: hold.id)
        calls = [
            (PREFIXES[partition], [lease_ms, *_pairs(holds, places)]) for partition, places in split.items()
        ]
        kept = [False] * len(holds)
        replies = await run_script(self._client, self._renew, calls)
        for places, flags in zip(split.values(), replies, strict=True):
            for place, flag in zip(places, flags, strict=True):
                kept[place] = flag == 1
        return kept

    async def give_back(self, holds: Sequence[Hold]) -> tuple[list[Republication], list[PublishTicket]]:
        """Make attempts QUEUED again, uncharged; see LeaseStore."""
        if not holds:
            return [], []
        split = by_partition(holds, lambda hold: hold.id)
        calls = [(PREFIXES[partition], _pairs(holds, places)) for partition, places in split.items()]
        back: list[Republication] = []
        tickets: list[PublishTicket] = []
        replies = await run_script(self._client, self._give_back, calls)
        for partition, (member, flat) in zip(split, replies, strict=True):
            back += republications(flat)
            tickets += ticket(partition, member)
        return back, tickets


def _pairs(holds: Sequence[Hold], places: Sequence[int]) -> list[Argument]:
    pairs: list[Argument] = []
    for place in places:
        hold = holds[place]
        pairs += (hold.id, hold.attempt)
    return pairs


def _reply(code: int, now: int) -> LeaseReply:
    verdict = VERDICTS[code & 3]
    granted = verdict is Lease.GRANTED
    return LeaseReply(verdict, code >> 2, now if granted else 0)
