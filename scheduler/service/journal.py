"""Writes down on the log which tasks ended, so that recovery can tell what is unfinished, then lets the store forget
the follow-ups. While the log is away the entries wait, in the store and here.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence

from forebay.tasks.v1.envelope_pb2 import Ended, Endings
from scheduler.errors import ServerUnavailable
from scheduler.ports.clock import Clock
from scheduler.ports.follow_ups import FollowUp, FollowUpStore
from scheduler.ports.log import LogPublisher
from scheduler.states import TaskState

log = logging.getLogger(__name__)

MOST_IDS = 4096
"""Ids in one message, unless a single follow-up has more: about 120 KiB."""
AGAIN_S = 0.5
"""Pause after a server did not answer, in seconds."""


class Journal:
    """Follow-ups on their way into the journal. Bounded by what the store returns of them at a time."""

    def __init__(self, publisher: LogPublisher, store: FollowUpStore, clock: Clock) -> None:
        self._publisher = publisher
        self._store = store
        self._clock = clock
        self._waiting: dict[tuple[int, str], FollowUp] = {}
        self._work = asyncio.Event()

    def holds(self, follow_up: FollowUp) -> bool:
        """Whether it is on its way: everything else about it is done."""
        return (follow_up.partition, follow_up.member) in self._waiting

    def take(self, done: Iterable[FollowUp]) -> None:
        """Take follow-ups of which only the journal is left."""
        self._waiting.update({(one.partition, one.member): one for one in done})
        self._work.set()

    async def run(self) -> None:
        """Write for ever. Cancelling it leaves the rest to the store, which keeps it."""
        while True:
            while not self._waiting:
                self._work.clear()
                await self._work.wait()
            try:
                for batch in _batches(list(self._waiting.values())):
                    await self._publisher.journal(endings_of(batch).SerializeToString())
                    await self._store.followed_up(batch)
                    for one in batch:
                        del self._waiting[one.partition, one.member]
            except ServerUnavailable as error:
                log.warning("endings wait for the journal: %s", error, extra={"steps": len(self._waiting)})
                await self._clock.sleep(AGAIN_S)


def endings_of(follow_ups: Iterable[FollowUp]) -> Endings:
    """Return what the journal says of follow-ups."""
    ids: dict[TaskState, list[str]] = {}
    for one in follow_ups:
        for state, theirs in one.endings:
            ids.setdefault(state, []).extend(theirs)
    # States have the numbers of the contract's.
    return Endings(ended=[Ended(state=state, ids=theirs) for state, theirs in ids.items()])  # type: ignore[arg-type]


def _batches(follow_ups: Sequence[FollowUp]) -> Iterator[list[FollowUp]]:
    batch: list[FollowUp] = []
    count = 0
    for one in follow_ups:
        size = sum(len(ids) for _, ids in one.endings)
        if batch and count + size > MOST_IDS:
            yield batch
            batch, count = [], 0
        batch.append(one)
        count += size
    if batch:
        yield batch
